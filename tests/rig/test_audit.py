"""Reading the audit log."""

from __future__ import annotations

import json

import pytest

from rig import audit

pytestmark = pytest.mark.unit


def entry(user, verb, **target):
    return json.dumps(
        {
            "user": {"username": user},
            "verb": verb,
            "objectRef": target,
            "responseStatus": {"code": 200},
            "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
        }
    )


@pytest.fixture
def log(tmp_path):
    path = tmp_path / audit.FILE
    lines = [
        entry(
            "system:serviceaccount:a:op", "patch", resource="pods", subresource="status", name="p"
        ),
        entry("admin", "get", resource="pods", name="p"),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_requests_are_chosen_by_the_prefix_of_the_user(log):
    (request,) = audit.read(log, user_prefix="system:serviceaccount:")

    assert (request.resource, request.subresource, request.name) == ("pods", "status", "p")
    assert request.is_write


def test_a_mark_leaves_out_what_was_before(log):
    mark = audit.end(log)
    with log.open("a") as file:
        file.write(entry("admin", "delete", resource="pods", name="p") + "\n")

    assert [request.verb for request in audit.read(log, since=mark)] == ["delete"]


def test_a_half_written_line_is_left_for_the_next_reading(log):
    whole = entry("admin", "delete", resource="pods", name="p")
    with log.open("a") as file:
        file.write(whole[:20])

    mark = audit.end(log)
    assert len(audit.read(log)) == 2
    assert audit.read(log, since=mark) == []
    with log.open("a") as file:
        file.write(whole[20:] + "\n")
    assert [request.verb for request in audit.read(log, since=mark)] == ["delete"]
