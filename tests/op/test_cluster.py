import asyncio
import time

import fakeapi
import pytest

from flowgauge_operator import errors, kinds
from flowgauge_operator.bucket import Bucket
from flowgauge_operator.cluster import Cluster
from flowgauge_operator.credentials import Credentials
from flowgauge_operator.event import Event
from flowgauge_operator.kinds import Ref
from flowgauge_operator.lease import Lease, LeaseStore
from flowgauge_operator.transport import Pace

ORDERS = Ref(kinds.WORKFLOW, "shop", "orders")


def config_map(name="settings", **data):
    meta = {"name": name, "namespace": "shop", "labels": {"team": "a"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def served(scenario, *, pace=None, observe=None, credentials=None):
    """Run `scenario(cluster, api)` against a fake API server."""

    async def main():
        async with fakeapi.serving() as api:
            found = credentials(api) if credentials else api.credentials
            options = {"observe": observe} if observe else {}
            async with Cluster(found, pace=pace or Pace(), **options) as cluster:
                return await scenario(cluster, api)

    return asyncio.run(main())


def test_behind_a_fence_nothing_is_written_but_the_lease_and_everything_is_read():
    async def scenario(cluster, api):
        await cluster.apply(config_map(a="1"))
        cluster.fence(lambda: False)
        before = len(api.requests)
        with pytest.raises(errors.Fenced, match="settings.*the lease is lost"):
            await cluster.apply(config_map(a="2"))
        with pytest.raises(errors.Fenced):
            await cluster.delete(kinds.ref_of(config_map()))
        with pytest.raises(errors.Fenced):
            await cluster.post(Event(ORDERS, "R", "n", "A", is_warning=False, instance="i"))
        asked = len(api.requests) - before
        await LeaseStore(cluster, "system", "x").write(Lease("one", 10))
        return asked, (await cluster.get(kinds.ref_of(config_map())))["data"]

    assert served(scenario) == (0, {"a": "1"})


def test_a_list_comes_in_chunks():
    async def scenario(cluster, api):
        for number in range(25):
            api.put(kinds.SERVICE, f"s{number:02}", "shop", labels={"n": str(number % 2)})
        found = [body async for body in cluster.list(kinds.SERVICE, "shop", "n=1", chunk=5)]
        return [body["metadata"]["name"] for body in found], api.count("GET")

    names, requests = served(scenario)

    assert names == [f"s{number:02}" for number in range(1, 25, 2)]
    assert requests == 3


def test_a_list_that_outlives_its_snapshot_goes_on_with_a_newer_one():
    async def scenario(cluster, api):
        for number in range(9):
            api.put(kinds.SERVICE, f"s{number}", "shop")
        expired = fakeapi.status(410, "Expired", metadata={"continue": "5"})
        api.fail("GET", "continue=5", 410, body=expired)
        return [body["metadata"]["name"] async for body in cluster.list(kinds.SERVICE, chunk=5)]

    assert served(scenario) == [f"s{number}" for number in range(9)]


def test_a_list_that_cannot_go_on_is_an_error():
    async def scenario(cluster, api):
        api.fail("GET", "/services", 410)
        with pytest.raises(errors.Expired):
            [_ async for _ in cluster.list(kinds.SERVICE)]

    served(scenario)


def test_the_verbs_of_a_group_are_read():
    async def scenario(cluster, _api):
        return await cluster.resources("monitoring.coreos.com/v1")

    found = served(scenario)

    assert set(found) == {"servicemonitors", "podmonitors", "prometheusrules"}
    assert "watch" in found["prometheusrules"]


def test_an_absent_group_serves_nothing():
    async def scenario(cluster, _api):
        return await cluster.resources("absent.example.com/v1")

    assert served(scenario) == {}


def test_permissions_are_asked_for():
    async def scenario(cluster, api):
        api.forbidden.add("prometheusrules")
        group = kinds.MONITORING
        allowed = await cluster.may("patch", "flowgauge.dev", "monitoredworkflows/status", "shop")
        asked = api.bodies[-1]["spec"]["resourceAttributes"]
        return allowed, asked, await cluster.may("list", group, "prometheusrules")

    allowed, asked, forbidden = served(scenario)

    assert (allowed, forbidden) == (True, False)
    assert asked == {
        "verb": "patch",
        "group": "flowgauge.dev",
        "resource": "monitoredworkflows",
        "subresource": "status",
        "namespace": "shop",
    }


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (400, errors.Invalid),
        (401, errors.Unauthorized),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (410, errors.Expired),
        (418, errors.ApiError),
        (422, errors.Invalid),
        (429, errors.Unavailable),
        (500, errors.Unavailable),
        (503, errors.Unavailable),
        (504, errors.Unavailable),
    ],
)
def test_every_refusal_has_its_error(code, expected):
    async def scenario(cluster, api):
        api.fail("GET", "/orders", code, times=9, reason="Why")
        with pytest.raises(errors.ApiError) as caught:
            await cluster.get(ORDERS)
        return caught.value

    error = served(scenario, pace=Pace(attempts=1))

    assert type(error) is expected
    assert (error.status, error.reason, str(error)) == (code, "Why", f"{code} Why: as told")


def test_a_field_unknown_to_the_crd_means_that_the_crd_is_outdated():
    message = "failed to create typed patch object: .status.slos: field not declared in schema"

    async def scenario(cluster, api):
        api.fail("PATCH", "/status", 500, body=fakeapi.status(500, "InternalError", message))
        with pytest.raises(errors.SchemaOutdated):
            await cluster.apply_status(ORDERS, {"slos": []})
        return api.count("PATCH")

    assert served(scenario) == 1


def test_a_value_of_the_wrong_type_is_invalid_and_no_outage():
    message = (
        "failed to create typed patch object (shop/orders): .spec.port: expected map, got &{x}"
    )

    async def scenario(cluster, api):
        api.fail("PATCH", "/configmaps", 500, body=fakeapi.status(500, "", message))
        with pytest.raises(errors.Invalid):
            await cluster.apply(config_map())
        return api.count("PATCH")

    assert served(scenario) == 1


def test_a_namespace_that_is_going_away_is_recognised():
    details = {"causes": [{"reason": "NamespaceTerminating"}]}

    async def scenario(cluster, api):
        body = fakeapi.status(403, "Forbidden", details=details)
        api.fail("PATCH", "/configmaps", 403, body=body)
        with pytest.raises(errors.Forbidden) as caught:
            await cluster.apply(config_map())
        return caught.value.is_terminating

    assert served(scenario)


def test_an_answer_in_html_becomes_a_message():
    async def scenario(cluster, api):
        api.fail("GET", "/orders", 502, times=9, body="<html>Bad Gateway</html>")
        with pytest.raises(errors.Unavailable, match="Bad Gateway"):
            await cluster.get(ORDERS)

    served(scenario, pace=Pace(attempts=1))


def test_a_good_answer_that_is_not_json_is_no_result():
    async def scenario(cluster, api):
        api.fail("GET", "/orders", 200, body="<html>log in</html>")
        with pytest.raises(errors.Unavailable, match="is a proxy in the way"):
            await cluster.get(ORDERS)

    served(scenario, pace=Pace(attempts=1))


def test_an_overloaded_server_gets_the_pause_that_it_asks_for():
    async def scenario(cluster, api):
        api.fail("PATCH", "/configmaps", 429, headers={"Retry-After": "1"})
        started = time.monotonic()
        await cluster.apply(config_map())
        return time.monotonic() - started

    assert 1.0 <= served(scenario) < 2.0


def test_a_long_pause_is_left_to_the_caller():
    async def scenario(cluster, api):
        api.fail("PATCH", "/configmaps", 503, headers={"Retry-After": "60"})
        with pytest.raises(errors.Unavailable) as caught:
            await cluster.apply(config_map())
        return caught.value.retry_after, api.count("PATCH")

    assert served(scenario) == (60.0, 1)


def test_a_server_that_stays_down_is_asked_three_times():
    async def scenario(cluster, api):
        api.fail("GET", "/orders", 503, times=9)
        with pytest.raises(errors.Unavailable):
            await cluster.get(ORDERS)
        return api.count("GET")

    assert served(scenario) == 3


def test_what_is_not_safe_to_repeat_is_sent_once():
    async def scenario(cluster, api):
        api.fail("POST", "/configmaps", 503, times=9)
        with pytest.raises(errors.Unavailable):
            await cluster.create(config_map())
        return api.count("POST")

    assert served(scenario) == 1


def test_a_call_that_hangs_is_cut():
    async def scenario(cluster, api):
        api.slow("GET", "/orders", seconds=5, times=9)
        started = time.monotonic()
        with pytest.raises(errors.Unavailable, match=r"no answer within 0.2 s"):
            await cluster.get(ORDERS)
        return time.monotonic() - started, api.count("GET")

    seconds, requests = served(scenario, pace=Pace(timeout=0.2))

    assert seconds < 1
    assert requests == 1


def test_an_unreachable_server_is_unavailable():
    async def scenario(cluster, _api):
        with pytest.raises(errors.Unavailable) as caught:
            await cluster.get(ORDERS)
        return caught.value

    error = served(
        scenario,
        pace=Pace(attempts=1),
        credentials=lambda _api: Credentials(server="http://127.0.0.1:9"),
    )

    assert (error.status, error.reason) == (0, "Network")


def test_a_token_that_was_renewed_meanwhile_is_used_without_an_error(tmp_path):
    path = tmp_path / "token"
    path.write_text("old")

    async def scenario(cluster, api):
        api.put(kinds.WORKFLOW, "orders", "shop")
        api.good_token = "old"
        await cluster.get(ORDERS)
        api.good_token = "new"
        path.write_text("new")
        await cluster.get(ORDERS)
        return api.tokens

    def credentials(api):
        return Credentials(server=api.server, token_file=path)

    assert served(scenario, credentials=credentials) == ["Bearer old", "Bearer old", "Bearer new"]


def test_a_refused_token_is_an_error_and_not_a_loop():
    async def scenario(cluster, api):
        api.good_token = "another"
        with pytest.raises(errors.Unauthorized):
            await cluster.get(ORDERS)
        return api.count("GET")

    assert served(scenario) == 1


def test_a_token_that_cannot_be_read_is_unauthorized(tmp_path):
    def credentials(api):
        return Credentials(server=api.server, token_file=tmp_path / "absent")

    async def scenario(cluster, _api):
        with pytest.raises(errors.Unauthorized, match="cannot read the token"):
            await cluster.get(ORDERS)

    served(scenario, credentials=credentials)


def test_every_request_is_counted_by_verb_kind_and_code():
    seen = []

    async def scenario(cluster, api):
        api.put(kinds.WORKFLOW, "orders", "shop")
        api.fail("PATCH", "/configmaps", 429, headers={"Retry-After": "0"})
        await cluster.apply(config_map())
        await cluster.apply_status(ORDERS, {"a": 1})
        await cluster.delete(ORDERS)
        await cluster.may("get", "", "pods")
        [_ async for _ in cluster.list(kinds.POD)]

    served(scenario, observe=lambda *call: seen.append(call))

    assert [call[:3] for call in seen] == [
        ("apply", "ConfigMap", "429"),
        ("apply", "ConfigMap", "201"),
        ("status", "MonitoredWorkflow", "200"),
        ("delete", "MonitoredWorkflow", "200"),
        ("review", "SelfSubjectAccessReview", "201"),
        ("list", "Pod", "200"),
    ]
    assert all(0 < call[3] < 5 for call in seen)


def test_writes_are_paced_and_reads_are_not():
    async def scenario(cluster, api):
        api.put(kinds.WORKFLOW, "orders", "shop")
        started = time.monotonic()
        await asyncio.gather(*(cluster.apply(config_map(f"c{n}")) for n in range(8)))
        written = time.monotonic() - started
        await asyncio.gather(*(cluster.get(ORDERS) for _ in range(20)))
        return written, time.monotonic() - started - written

    written, read = served(scenario, pace=Pace(qps=10, burst=4))

    assert 0.4 <= written < 1.0
    assert read < 0.3


def test_the_lease_overtakes_everything():
    async def scenario(cluster, api):
        api.slow("PATCH", "/configmaps", seconds=1, times=99)
        writes = [asyncio.create_task(cluster.apply(config_map(f"c{n}"))) for n in range(4)]
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await LeaseStore(cluster, "system", "flowgauge").write(Lease("one", 15))
        seconds = time.monotonic() - started
        for write in writes:
            write.cancel()
        await asyncio.wait(writes)
        return seconds

    assert served(scenario, pace=Pace(workers=1, qps=1, burst=1)) < 0.5


def test_no_more_requests_run_at_a_time_than_there_are_workers():
    async def scenario(cluster, api):
        api.slow("GET", "/orders", seconds=0.1, times=6)
        api.put(kinds.WORKFLOW, "orders", "shop")
        started = time.monotonic()
        await asyncio.gather(*(cluster.get(ORDERS) for _ in range(6)))
        return time.monotonic() - started

    assert served(scenario, pace=Pace(workers=2)) >= 0.3


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate():
    now = [0.0]
    bucket = Bucket(10, 3, lambda: now[0])

    assert [round(bucket.take(), 2) for _ in range(5)] == [0, 0, 0, 0.1, 0.2]
    now[0] = 100.0
    assert [bucket.take() for _ in range(3)] == [0, 0, 0]


def test_a_bucket_without_rate_never_waits():
    bucket = Bucket(0, 1, lambda: 0.0)

    assert {bucket.take() for _ in range(1000)} == {0.0}


def test_a_client_that_was_not_entered_says_so():
    cluster = Cluster(Credentials(server="http://127.0.0.1:9"))

    with pytest.raises(RuntimeError, match="context manager"):
        asyncio.run(cluster.get(ORDERS))
