"""Whose a workflow is, by its mark and the API server's record of writers."""

from __future__ import annotations

import pytest

from flowgauge_operator import mark


def entry(manager, operation="Apply", fields="f:spec", **more):
    return {"manager": manager, "operation": operation, "fieldsV1": {fields: {}}, **more}


OURS = entry("flowgauge-discovery")
STATUS = entry("flowgauge-status", fields="f:status", subresource="status")
LAST = "kubectl.kubernetes.io/last-applied-configuration"
SAID, DECLARED = '{"spec": {"profile": "contd"}}', {"profile": "contd"}


def body(*written, annotations=None, labels=None):
    metadata = {
        "labels": {"flowgauge.dev/discovered": "true"} if labels is None else labels,
        "annotations": annotations or {},
        "managedFields": list(written),
    }
    return {"metadata": metadata}


@pytest.mark.parametrize("labels", [{}, {"flowgauge.dev/discovered": "false"}])
def test_without_the_mark_it_was_made_by_hand(labels):
    assert mark.of(body(OURS, labels=labels)) is None


@pytest.mark.parametrize(
    ("others", "annotations", "is_taken", "declared"),
    [
        ((), {}, False, None),
        ((STATUS,), {}, False, None),
        ((entry("kubectl-label", "Update", "f:metadata"),), {}, False, None),
        ((entry("kubectl-edit", "Update"),), {}, True, None),
        ((entry("flux"),), {}, True, {}),
        ((entry("kubectl-client-side-apply", "Update"),), {LAST: SAID}, True, DECLARED),
        ((entry("flux"), entry("kubectl-client-side-apply", "Update")), {LAST: SAID}, True, {}),
        # Applied with the values that it has already.
        (
            (entry("kubectl-client-side-apply", "Update", "f:metadata"),),
            {LAST: SAID},
            True,
            DECLARED,
        ),
        ((), {LAST: "{"}, False, None),
        ((), {LAST: '{"spec": []}'}, False, None),
    ],
)
def test_who_wrote_the_spec_has_taken_it_over(others, annotations, is_taken, declared):
    found = mark.of(body(OURS, *others, annotations=annotations))

    assert (found.is_taken, found.declared) == (is_taken, declared)
    assert found.is_ours


def test_a_mark_that_is_declared_stays():
    said = '{"metadata": {"labels": {"flowgauge.dev/discovered": "true"}}, "spec": {}}'

    found = mark.of(body(OURS, annotations={LAST: said}))

    assert found.is_taken
    assert not found.is_ours


def test_what_was_let_go_is_not_ours():
    assert not mark.of(body(entry("flux"))).is_ours


def test_what_it_says_of_itself_is_read():
    said = {
        "flowgauge.dev/hash": "h",
        "flowgauge.dev/keep": "8d",
        "flowgauge.dev/pods-gone-since": "2026-01-01T00:00:00Z",
    }

    found = mark.of(body(OURS, annotations=said))

    assert (found.hash, found.keep, found.gone_since) == ("h", "8d", "2026-01-01T00:00:00Z")
