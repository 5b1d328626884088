import pytest

from flowgauge_operator import kinds
from flowgauge_operator.kinds import Ref


def test_a_core_object_has_its_path_under_api():
    assert Ref(kinds.SERVICE, "shop", "orders").path() == "/api/v1/namespaces/shop/services/orders"


def test_a_status_has_its_path_behind_the_object():
    path = Ref(kinds.WORKFLOW, "shop", "orders").path("status")

    assert path == "/apis/flowgauge.dev/v1alpha1/namespaces/shop/monitoredworkflows/orders/status"


def test_a_cluster_wide_kind_has_no_namespace_in_its_path():
    path = Ref(kinds.PROFILE, "ignored", "contd").path()

    assert path == "/apis/flowgauge.dev/v1alpha1/workflowprofiles/contd"


def test_a_name_from_a_user_cannot_leave_its_path():
    assert kinds.CONFIG_MAP.path("a/b", "../c").endswith("/namespaces/a%2Fb/configmaps/..%2Fc")


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.kind)
def test_every_kind_is_found_by_its_manifest(kind):
    manifest = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "x"}}

    assert kinds.ref_of(manifest) == Ref(kind, None, "x")


def test_a_kind_that_we_do_not_handle_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="Secret in v1"):
        kinds.kind_of({"apiVersion": "v1", "kind": "Secret"})
