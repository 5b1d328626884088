"""Whose a workflow is, by its mark and the API server's record of writers."""

from __future__ import annotations

import pytest

from flowgauge_operator import mark


def entry(manager, operation="Apply", fields="f:spec", **more):
    return {"manager": manager, "operation": operation, "fieldsV1": {fields: {}}, **more}


OURS = entry("flowgauge-discovery")
STATUS = entry("flowgauge-status", fields="f:status", subresource="status")


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
    ("others", "annotations", "is_taken", "is_declared"),
    [
        ((), {}, False, False),
        ((STATUS,), {}, False, False),
        ((entry("kubectl-label", "Update", "f:metadata"),), {}, False, False),
        ((entry("kubectl-edit", "Update"),), {}, True, False),
        ((entry("flux"),), {}, True, True),
        (
            (entry("kubectl-client-side-apply", "Update"),),
            {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
            True,
            True,
        ),
    ],
)
def test_who_wrote_the_spec_has_taken_it_over(others, annotations, is_taken, is_declared):
    found = mark.of(body(OURS, *others, annotations=annotations))

    assert (found.is_taken, found.is_taken and found.is_declared) == (is_taken, is_declared)
    assert found.is_ours


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
