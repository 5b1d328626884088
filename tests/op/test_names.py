import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge_operator import names

SUFFIXES = ("metrics", "flowgauge", "rules", "dashboard")
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
WORKFLOWS = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("workflow", "child"),
    [
        ("orders", "orders-metrics"),
        ("a", "a-metrics"),
        ("orders-2", "orders-2-metrics"),
        ("2orders", "fg-2orders-a8dc1674-metrics"),
        ("orders.eu", "fg-orders-eu-982e40d3-metrics"),
        ("x" * 63, f"fg-{'x' * 40}-0e03f8d1-metrics"),
    ],
)
def test_a_child_is_called_after_its_workflow(workflow, child):
    assert names.child(workflow, "metrics") == child


@settings(deadline=None)  # a busy machine is no failure
@given(WORKFLOWS, st.sampled_from(SUFFIXES))
def test_every_childs_name_is_a_dns_label(workflow, suffix):
    assert DNS_LABEL.fullmatch(names.child(workflow, suffix))


@pytest.mark.parametrize(
    ("first", "second"),
    [("orders.eu", "orders-eu"), ("1a.b", "1a-b"), ("x" * 62 + "y", "x" * 62 + "z")],
)
def test_workflows_that_look_alike_have_children_of_their_own(first, second):
    assert names.child(first, "rules") != names.child(second, "rules")


@settings(deadline=None)  # a busy machine is no failure
@given(WORKFLOWS, WORKFLOWS)
def test_a_dashboards_uid_fits_grafana(namespace, workflow):
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", names.dashboard_uid(namespace, workflow))


def test_a_dashboards_uid_never_changes():
    assert names.dashboard_uid("shop", "orders") == "fg-25854a7eceb1fa1f2e726553"


def test_two_namespaces_have_two_dashboards():
    assert names.dashboard_uid("a", "orders") != names.dashboard_uid("b", "orders")


def test_a_groups_name_says_whose_it_is():
    assert names.group("shop", "orders", "alerts") == "flowgauge/shop/orders/alerts"
