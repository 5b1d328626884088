"""The shell around kopf, with the real kopf on a fake API server."""

import asyncio
import contextlib
import gc
import logging
import signal
import threading
import time

import fakeapi
import kopf
import pytest
import virtual

from flowgauge_operator import kinds, presence, shell, watch
from flowgauge_operator.bulkhead import Bridge, Bulkhead
from flowgauge_operator.cluster import META, META_LIST, Cluster
from flowgauge_operator.credentials import Credentials, CredentialsError
from flowgauge_operator.kinds import Watched
from flowgauge_operator.presence import Discovery
from flowgauge_operator.transport import JSON

WANTED = (
    Watched(kinds.WORKFLOW),
    Watched(kinds.CONFIG_MAP, "flowgauge.dev/managed=true"),
    Watched(kinds.PROMETHEUS_RULE),
)
OURS = {"flowgauge.dev/managed": "true"}


async def until(condition, seconds=5.0):
    """Wait until a condition holds; fail if it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it may change in another thread
            await asyncio.sleep(0.01)


class World:
    """A running shell, what it handed on, and the API server that it watches."""

    def __init__(self, api, cluster):
        self.api = api
        self.cluster = cluster
        self.stop = asyncio.Event()
        self.events = []
        self.changes = []
        self.restarts = []
        self.shell = None
        self.task = None

    def sink(self, kind, event_type, body):
        assert threading.current_thread() is threading.main_thread()
        self.events.append((kind.kind, event_type, body["metadata"]["name"]))

    def start(self, wanted=WANTED, sink=None, credentials=None, **options):
        self.shell = shell.Shell(
            wanted,
            sink or self.sink,
            credentials or self.api.credentials,
            self.cluster,
            on_change=self.changes.append,
            on_restart=self.restarts.append,
            **{"look_seconds": 0.1, **options},
        )
        self.task = asyncio.create_task(self.shell.run(self.stop))

    async def ready(self, *present):
        for kind in present or [item.kind for item in WANTED]:
            await until(lambda kind=kind: self.shell.watching(kind), 10)
            await until(lambda kind=kind: self.has_stream(kind), 10)

    def has_stream(self, kind):
        return any(watcher[0] == kind.plural for watcher in self.api.watchers)


def lived(scenario):
    async def main():
        async with fakeapi.serving() as api, Cluster(api.credentials) as cluster:
            world = World(api, cluster)
            try:
                return await scenario(world)
            finally:
                world.stop.set()
                if world.task is not None:
                    with contextlib.suppress(shell.ShellFailed, asyncio.CancelledError):
                        await world.task

    return asyncio.run(main())


def test_what_exists_is_told_first_and_what_happens_afterwards():
    async def scenario(world):
        world.api.put(kinds.WORKFLOW, "orders", "shop")
        world.start()
        await world.ready()
        world.api.put(kinds.WORKFLOW, "billing", "bank")
        world.api.put(kinds.WORKFLOW, "billing", "bank", spec={"a": 1})
        world.api.remove(kinds.WORKFLOW, "orders", "shop")
        await until(lambda: len(world.events) == 4)
        return world.events

    # Events of one object keep their order; those of two may change places.
    assert sorted(lived(scenario), key=lambda event: event[2]) == [
        ("MonitoredWorkflow", "ADDED", "billing"),
        ("MonitoredWorkflow", "MODIFIED", "billing"),
        ("MonitoredWorkflow", None, "orders"),
        ("MonitoredWorkflow", "DELETED", "orders"),
    ]


def test_the_sink_gets_the_whole_body():
    bodies = []

    async def scenario(world):
        world.api.put(kinds.WORKFLOW, "orders", "shop", spec={"profile": "contd"})
        world.start(sink=lambda *call: bodies.append(call))
        await until(lambda: bodies)

    lived(scenario)

    kind, event_type, body = bodies[0]
    assert (kind, event_type, type(body)) == (kinds.WORKFLOW, None, dict)
    assert body["spec"] == {"profile": "contd"}
    assert body["metadata"]["resourceVersion"] == "1"


def test_a_kind_with_a_selector_is_filtered_by_the_server():
    async def scenario(world):
        world.api.put(kinds.CONFIG_MAP, "foreign", "shop")
        world.api.put(kinds.CONFIG_MAP, "ours", "shop", labels=OURS)
        world.start()
        await world.ready()
        world.api.put(kinds.CONFIG_MAP, "foreign", "shop", data={})
        world.api.put(kinds.CONFIG_MAP, "ours", "shop", labels=OURS, data={})
        await until(lambda: len(world.events) == 2)
        lists = [path for verb, path in world.api.requests if "/configmaps" in path]
        return world.events, lists

    events, lists = lived(scenario)

    assert {name for _, _, name in events} == {"ours"}
    assert all("labelSelector=flowgauge.dev/managed%3Dtrue" in path for path in lists)


def test_nothing_is_written():
    async def scenario(world):
        world.api.put(kinds.WORKFLOW, "orders", "shop")
        world.start()
        await world.ready()
        await until(lambda: world.events)
        return {verb for verb, path in world.api.requests if "selfsubject" not in path}

    assert lived(scenario) == {"GET"}


def test_a_list_of_many_objects_arrives_whole():
    async def scenario(world):
        for number in range(1200):
            world.api.put(kinds.WORKFLOW, f"w{number}", "shop")
        world.start()
        await until(lambda: len(world.events) == 1200, 20)
        return world.api.count("GET", "monitoredworkflows?limit=500")

    assert lived(scenario) == 3


def test_a_kind_that_is_missing_or_forbidden_leaves_the_others_alone():
    async def scenario(world):
        world.api.kinds.remove(kinds.PROMETHEUS_RULE)
        world.api.forbidden.add("configmaps")
        world.start()
        await world.ready(kinds.WORKFLOW)
        return world.changes, world.shell.watching(kinds.CONFIG_MAP)

    changes, is_watching = lived(scenario)

    assert changes == [
        Discovery(
            frozenset({kinds.WORKFLOW}),
            {kinds.CONFIG_MAP: "the operator may not list configmaps (RBAC)"},
            {
                kinds.PROMETHEUS_RULE: "PrometheusRule (monitoring.coreos.com/v1)"
                " is not installed in this cluster"
            },
        )
    ]
    assert not is_watching


def test_a_kind_that_is_installed_later_is_watched_without_a_new_process():
    async def scenario(world):
        world.api.kinds.remove(kinds.PROMETHEUS_RULE)
        world.api.put(kinds.WORKFLOW, "orders", "shop")
        world.start()
        await world.ready(kinds.WORKFLOW, kinds.CONFIG_MAP)
        world.api.kinds.append(kinds.PROMETHEUS_RULE)
        world.api.put(kinds.PROMETHEUS_RULE, "rules", "shop")
        await world.ready()
        await until(lambda: len(world.events) == 2)
        return world.events, world.restarts

    events, restarts = lived(scenario)

    # The workflow was listed twice and told once.
    assert sorted(events) == [
        ("MonitoredWorkflow", None, "orders"),
        ("PrometheusRule", None, "rules"),
    ]
    assert restarts == []


def test_a_kind_that_is_removed_ends_kopf_and_not_us():
    async def scenario(world):
        world.start(look_seconds=3600)
        await world.ready()
        world.api.uninstall(kinds.PROMETHEUS_RULE)
        await until(lambda: world.restarts, 10)
        await world.ready(kinds.WORKFLOW, kinds.CONFIG_MAP)
        world.api.put(kinds.WORKFLOW, "orders", "shop")
        await until(lambda: world.events)
        return world.shell.watching(kinds.PROMETHEUS_RULE), len(world.changes)

    assert lived(scenario) == (False, 2)


def test_a_stream_that_is_cut_goes_on():
    async def scenario(world):
        world.start()
        await world.ready()
        world.api.cut()
        world.api.put(kinds.WORKFLOW, "orders", "shop")
        await until(lambda: world.events)
        return world.restarts

    assert lived(scenario) == []


def test_a_version_that_is_too_old_leads_to_a_new_list_and_no_repetition():
    async def scenario(world):
        world.api.put(kinds.WORKFLOW, "orders", "shop")
        world.start()
        await world.ready()
        lists = world.api.count("GET", "monitoredworkflows?limit")
        world.api.cut({"code": 410, "reason": "Expired"})
        await until(lambda: world.api.count("GET", "monitoredworkflows?limit") > lists)
        world.api.put(kinds.WORKFLOW, "billing", "shop")
        await until(lambda: len(world.events) > 1)
        return [name for _, _, name in world.events], world.restarts

    assert lived(scenario) == (["orders", "billing"], [])


def test_another_error_in_a_stream_restarts_the_shell_at_once():
    async def scenario(world):
        world.start()
        await world.ready()
        started = time.monotonic()
        world.api.cut({"code": 500, "reason": "InternalError"})
        await until(lambda: world.restarts, 20)
        seconds = time.monotonic() - started
        await world.ready()
        world.api.put(kinds.WORKFLOW, "orders", "shop")
        await until(lambda: world.events)
        return seconds

    assert lived(scenario) < 3  # kopf alone waits 5 s


def test_a_watcher_that_swallows_its_cancellation_is_cancelled_again():
    async def watcher():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async def main():
        stop = asyncio.Event()
        stubborn = asyncio.create_task(watcher(), name="watcher for configmaps.v1@None")
        bystander = asyncio.create_task(asyncio.sleep(3600), name="another")
        reaping = asyncio.create_task(watch._reap(stop))
        await asyncio.sleep(60)
        stubborn.cancel()
        stop.set()
        await asyncio.sleep(2)
        was_done = stubborn.done(), bystander.done()
        reaping.cancel()
        bystander.cancel()
        return was_done

    assert virtual.run(main()) == (True, False)


def test_the_reaper_waits_for_the_stop():
    async def main():
        living = asyncio.create_task(asyncio.sleep(3600), name="watcher for configmaps.v1@None")
        reaping = asyncio.create_task(watch._reap(asyncio.Event()))
        await asyncio.sleep(60)
        was_done = living.done()
        reaping.cancel()
        living.cancel()
        return was_done

    assert virtual.run(main()) is False


def test_a_shell_that_keeps_failing_gives_up(monkeypatch):
    async def broken(*_):
        raise OSError("no")

    monkeypatch.setattr(watch, "operate", broken)
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.01)

    async def scenario(world):
        world.start()
        with pytest.raises(shell.ShellFailed, match="failed 5 times in a row"):
            await world.task
        return len(world.restarts)

    assert lived(scenario) == 4


def test_an_event_that_cannot_be_taken_in_does_not_stop_the_next(caplog):
    seen = []

    def sink(_kind, _type, body):
        seen.append(body["metadata"]["name"])
        if len(seen) == 1:
            raise ZeroDivisionError

    async def scenario(world):
        world.start(sink=sink)
        await world.ready()
        world.api.put(kinds.WORKFLOW, "bad", "shop")
        await until(lambda: len(seen) == 1)
        world.api.put(kinds.WORKFLOW, "good", "shop")
        await until(lambda: len(seen) == 2)

    lived(scenario)

    assert seen == ["bad", "good"]
    assert "An event could not be taken in." in caplog.text


def test_in_single_namespaces_only_these_are_watched():
    async def scenario(world):
        world.api.put(kinds.PROFILE, "contd")
        for namespace in ("shop", "bank", "other"):
            world.api.put(kinds.WORKFLOW, "w", namespace)
        wanted = [Watched(kinds.WORKFLOW), Watched(kinds.PROFILE)]
        world.start(wanted, namespaces=["shop", "bank"])
        await world.ready(kinds.WORKFLOW, kinds.PROFILE)
        await until(lambda: len(world.events) == 3)
        return sorted(world.events), [p for _, p in world.api.requests if "namespaces?" in p]

    events, scans = lived(scenario)

    assert [kind for kind, _, _ in events] == ["MonitoredWorkflow"] * 2 + ["WorkflowProfile"]
    assert scans == []


def test_a_stop_ends_the_shell_at_once():
    async def scenario(world):
        world.start()
        await world.ready()
        started = time.monotonic()
        world.stop.set()
        await world.task
        return time.monotonic() - started, world.shell.watching(kinds.WORKFLOW)

    seconds, is_watching = lived(scenario)

    assert seconds < 2
    assert not is_watching


def test_tasks_and_signals_of_the_process_are_left_alone_by_a_restart():
    async def scenario(world):
        world.start()
        await world.ready()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: None)
        created_while_kopf_runs = asyncio.create_task(asyncio.sleep(3600))
        world.api.cut({"code": 500, "reason": "InternalError"})
        await until(lambda: world.restarts, 10)
        await world.ready()
        was_alive = not created_while_kopf_runs.done()
        created_while_kopf_runs.cancel()
        return was_alive, loop.remove_signal_handler(signal.SIGTERM)

    # Nobody took SIGTERM: there was no handler to remove.
    assert lived(scenario) == (True, False)


def test_a_cluster_that_cannot_be_asked_is_asked_again():
    async def scenario(world):
        world.api.fail("GET", "/apis/flowgauge.dev", 503, times=3)
        world.start()
        await world.ready()
        return world.restarts

    assert lived(scenario) == []


def test_a_long_outage_is_one_failure(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.01)

    async def scenario(world):
        begun = []

        async def operate(*arguments):
            begun.append(arguments)
            if len(begun) > 1:
                await arguments[-1].wait()
                return
            # Ten looks of three attempts each: at each of them kopf would fail, and after five the process would end.
            world.api.fail("GET", "/apis/flowgauge.dev/v1alpha1", 503, times=30)
            raise OSError("the API server went away")

        monkeypatch.setattr(watch, "operate", operate)
        world.start()
        await until(lambda: len(begun) == 2, 30)
        return sum(fault.left for fault in world.api.faults), len(world.restarts)

    assert lived(scenario) == (0, 1)


def test_a_token_that_expires_is_read_again(tmp_path):
    path = tmp_path / "token"
    path.write_text("old")

    async def scenario(world):
        world.api.good_token = "old"
        found = Credentials(server=world.api.server, token_file=path)
        async with Cluster(found) as cluster:
            world.cluster = cluster
            world.start(credentials=found)
            await world.ready()
            path.write_text("new")
            world.api.good_token = "new"
            world.api.cut()
            world.api.put(kinds.WORKFLOW, "orders", "shop")
            await until(lambda: world.events, 10)
            world.stop.set()
            await world.task
        return world.restarts

    assert lived(scenario) == []


def test_kopf_gets_no_handler_but_events_login_and_the_end():
    # With any other handler the storages that store nothing would be wrong.
    found = Credentials(server="https://api")
    made = watch.registry(WANTED, handled, listed, found, asyncio.Event())

    assert len(made._watching.get_all_handlers()) == len(WANTED)
    assert [handler.activity.value for handler in made._activities.get_all_handlers()] == [
        "authentication",
        "cleanup",
    ]
    others = ("_indexing", "_spawning", "_changing", "_webhooks")
    assert {name: list(getattr(made, name).get_all_handlers()) for name in others} == {
        name: [] for name in others
    }
    assert {name for name in vars(made) if name.startswith("_")} == {
        "_activities",
        "_watching",
        *others,
    }


async def handled(_kind, _event_type, _body):
    pass


async def listed(_kind):
    pass


def test_every_list_is_told():
    lists = []

    async def scenario(world):
        for number in range(600):
            world.api.put(kinds.WORKFLOW, f"w{number}", "shop")
        world.start([Watched(kinds.WORKFLOW)], on_list=lists.append)
        await world.ready(kinds.WORKFLOW)
        first = list(lists)
        world.api.cut({"code": 410, "reason": "Expired"})
        await until(lambda: len(lists) > len(first))
        return first

    # One for each list, not for each page of it.
    assert lived(scenario) == [kinds.WORKFLOW]
    assert lists == [kinds.WORKFLOW] * 2


def test_kopf_gets_settings_under_which_it_only_watches():
    made = watch.settings(WANTED)

    assert made.posting.enabled is False
    assert made.peering.standalone is True
    assert made.scanning.disabled is True
    assert (made.queueing.worker_limit, made.queueing.idle_timeout) == (50, 0.01)
    assert made.queueing.exit_timeout == 5
    assert made.watching.chunk_size == 500
    assert (made.watching.server_timeout, made.watching.connect_timeout) == (290, 10)
    assert made.watching.inactivity_timeout == 70
    assert made.watching.initial_streaming is False
    assert made.networking.request_timeout == 30
    assert made.networking.error_backoffs == (1, 2, 4, 8, 15)
    assert made.networking.enforce_retry_after is True
    assert made.process.ultimate_exiting_timeout == 25
    assert isinstance(made.persistence.diffbase_storage, watch.NoDiffBase)
    assert isinstance(made.persistence.progress_storage, watch.NoProgress)
    assert made.persistence.finalizer.startswith("flowgauge.dev/")


def test_every_setting_that_we_make_exists_in_kopf():
    fresh, made = kopf.OperatorSettings(), watch.settings(WANTED)

    for section in vars(made):
        assert set(vars(getattr(made, section))) == set(vars(getattr(fresh, section))), section


def test_kopf_writes_no_line_for_each_event():
    watch.quieten()

    assert logging.getLogger("kopf.objects").level == logging.WARNING


def test_only_metadata_is_asked_for_where_no_more_is_wanted():
    async def scenario(world):
        wanted = (Watched(kinds.WORKFLOW), Watched(kinds.CONFIG_MAP, metadata_only=True))
        world.start(wanted)
        await world.ready(kinds.WORKFLOW, kinds.CONFIG_MAP)
        asked = zip(world.api.requests, world.api.accepts, strict=True)
        return [(path, accept) for (verb, path), accept in asked if verb == "GET" and "?" in path]

    asked = lived(scenario)

    def accepts(part, *, is_watch):
        return {a for path, a in asked if part in path and ("watch=" in path) is is_watch}

    # The second time because there was none, which kopf understands only of whole objects.
    assert accepts("configmaps?", is_watch=False) == {META_LIST, JSON}
    assert accepts("configmaps?", is_watch=True) == {META}
    assert accepts("monitoredworkflows?", is_watch=False) == {"*/*"}
    assert accepts("monitoredworkflows?", is_watch=True) == {"*/*"}


def test_children_are_told_by_their_metadata():
    async def scenario(world):
        world.api.put(kinds.CONFIG_MAP, "one", "shop", data={"a": "1"})
        world.start((Watched(kinds.CONFIG_MAP, metadata_only=True),))
        await until(lambda: world.events)
        lists = [path for verb, path in world.api.requests if "configmaps?limit" in path]
        return world.events, len(lists), world.restarts

    assert lived(scenario) == ([("ConfigMap", None, "one")], 1, [])


def test_kopf_gets_our_credentials():
    async def made():
        found = Credentials(server="https://api:6443", namespace="system", proxy="http://proxy:1")
        session = await watch.connection(found, "secret", (), listed)
        await session.aiohttp_session.close()
        return session

    session = asyncio.run(made())

    assert (session.server, session.default_namespace) == ("https://api:6443", "system")
    assert session.aiohttp_session.headers["Authorization"] == "Bearer secret"
    assert str(session.aiohttp_session._default_proxy) == "http://proxy:1"


def test_kopf_checks_the_certificate_with_our_authority(tmp_path):
    (tmp_path / "ca.crt").write_text("no certificate")

    with pytest.raises(CredentialsError, match="certificates for https://api"):
        asyncio.run(
            watch.connection(
                Credentials(server="https://api", ca_file=tmp_path / "ca.crt"), None, (), listed
            )
        )


def test_the_same_version_is_news_once():
    seen = shell.Seen()
    body = {"metadata": {"uid": "u", "resourceVersion": "1"}}

    told = [
        seen.is_news(kinds.POD, kind, body) for kind in (None, "ADDED", "DELETED", "ADDED", None)
    ]

    assert told == [True, False, True, True, False]


def test_a_forgotten_object_is_news_again():
    seen = shell.Seen()
    body = {"metadata": {"uid": "u", "resourceVersion": "1"}}
    seen.is_news(kinds.POD, None, body)
    seen.forget(kinds.POD, "u")

    assert seen.is_news(kinds.POD, None, body)


def test_a_permission_is_needed_in_every_namespace():
    class Reviewer:
        async def resources(self, _version):
            return {"services": frozenset({"list", "watch"})}

        async def may(self, verb, _group, _resource, namespace=None):
            return (verb, namespace) != ("patch", "bank")

    async def found(namespaces):
        wanted = [Watched(kinds.SERVICE, verbs=kinds.READ + kinds.WRITE)]
        return await presence.discover(Reviewer(), wanted, namespaces)

    assert asyncio.run(found(["shop"])).present == {kinds.SERVICE}
    assert asyncio.run(found(["shop", "bank"])).reason(kinds.SERVICE) == (
        "the operator may not patch services in namespace bank (RBAC)"
    )


def test_a_bridge_keeps_the_order_and_slows_the_other_side_down():
    seen, most = [], []

    async def main():
        bridge = Bridge(seen.append)

        async def job(_stop):
            for number in range(5000):
                await bridge.put(number)
                most.append(len(bridge._calls))

        bulkhead = Bulkhead("test", job)
        bulkhead.start()
        time.sleep(0.05)  # noqa: ASYNC251 - our loop is busy meanwhile
        assert await bulkhead.ended is None
        await until(lambda: len(seen) == 5000)

    asyncio.run(main())

    assert seen == list(range(5000))
    assert max(most) <= 1001


def test_the_end_of_a_bulkhead_tells_the_error():
    async def main():
        async def job(_stop):
            raise ZeroDivisionError

        bulkhead = Bulkhead("test", job)
        bulkhead.start()
        error = await bulkhead.ended
        bulkhead.stop()
        return type(error), bulkhead.task_names()

    assert asyncio.run(main()) == (ZeroDivisionError, [])


def test_an_error_that_a_job_leaves_behind_is_one_quiet_line(caplog):
    caplog.set_level(logging.DEBUG, "flowgauge_operator.bulkhead")

    async def main():
        async def job(_stop):
            async def broken():
                raise ZeroDivisionError

            asyncio.create_task(broken())  # noqa: RUF006 - nobody looks at it, as in kopf
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        bulkhead = Bulkhead("test", job)
        bulkhead.start()
        return await bulkhead.ended

    assert asyncio.run(main()) is None
    gc.collect()
    (record,) = [record for record in caplog.records if "ZeroDivisionError" in record.getMessage()]
    assert (record.name, record.levelname) == ("flowgauge_operator.bulkhead", "DEBUG")
    assert record.exc_info is None
