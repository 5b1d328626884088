"""Client, discovery, shell and lease on a real API server; kubectl reads back what ours has written."""

import asyncio
import json
from pathlib import Path

import pytest

from flowgauge_operator import credentials, errors, kinds, presence
from flowgauge_operator.cluster import Cluster
from flowgauge_operator.credentials import Credentials
from flowgauge_operator.event import Event
from flowgauge_operator.kinds import READ, WRITE, Ref, Watched
from flowgauge_operator.leader import Elector, Timing
from flowgauge_operator.lease import Lease, LeaseStore
from flowgauge_operator.shell import Shell
from rig import pytest_plugin

pytestmark = pytest.mark.cluster

CRDS = sorted((Path(__file__).parents[2] / "crds").glob("*.yaml"))
MANAGED = {"flowgauge.dev/managed": "true"}
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME}
rules:
- {apiGroups: [""], resources: [services, configmaps], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [flowgauge.dev], resources: [monitoredworkflows], verbs: [get, list, watch]}
- {apiGroups: [flowgauge.dev], resources: [monitoredworkflows/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}
subjects: [{kind: ServiceAccount, name: default, namespace: NAME}]
"""


@pytest.fixture(scope="module")
def installed(cluster):
    for path in CRDS:
        cluster.apply(path.read_text(encoding="utf-8"))
    cluster.wait_established()
    return cluster


@pytest.fixture
def served(installed):
    """Run a scenario with our client as the administrator, found by our own kubeconfig parser."""

    def served(scenario, found=None):
        found = found or credentials.load({}, path=installed.kubeconfig)

        async def main():
            async with Cluster(found) as client:
                return await scenario(client)

        return asyncio.run(main())

    return served


@pytest.fixture
def limited(installed, namespace):
    """Credentials of a service account with a small role, its token in a file as in a pod."""
    installed.kubectl("apply", "-f", "-", stdin=ROLE.replace("NAME", namespace))
    token = installed.kubectl("create", "token", "default", "-n", namespace).strip()
    admin = credentials.load({}, path=installed.kubeconfig)
    yield Credentials(
        server=admin.server,
        ca_file=admin.ca_file,
        ca_data=admin.ca_data,
        verify=admin.verify,
        token=token,
    )
    installed.kubectl("delete", f"clusterrole/{namespace}", f"clusterrolebinding/{namespace}")


def config_map(namespace, name="settings", labels=None, **data):
    meta = {"name": name, "namespace": namespace, "labels": labels or MANAGED}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def workflow(namespace, name="orders"):
    meta = {"name": name, "namespace": namespace}
    spec = {"selector": {"matchLabels": {"app": name}}}
    kind = kinds.WORKFLOW
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, "spec": spec}


def read(cluster, namespace, what):
    return json.loads(
        cluster.kubectl("get", what, "-n", namespace, "-o", "json", "--show-managed-fields")
    )


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it changes in the cluster
            await asyncio.sleep(0.05)


def test_an_apply_is_stored_under_our_manager(served, installed, namespace):
    async def scenario(client):
        return await client.apply(config_map(namespace, a="1"))

    meta = served(scenario)

    stored = read(installed, namespace, "configmap/settings")
    assert stored["data"] == {"a": "1"}
    assert (meta.uid, meta.name) == (stored["metadata"]["uid"], "settings")
    (manager,) = stored["metadata"]["managedFields"]
    assert (manager["manager"], manager["operation"]) == ("flowgauge", "Apply")


def test_an_apply_of_the_same_keeps_the_version(served, namespace):
    async def scenario(client):
        first = await client.apply(config_map(namespace, a="1"))
        return first, await client.apply(config_map(namespace, a="1"))

    first, second = served(scenario)

    assert first == second


def test_fields_of_others_survive_and_ours_disappear_with_us(served, installed, namespace):
    async def scenario(client):
        await client.apply(config_map(namespace, ours="1", gone="1"))
        patch = '{"data": {"theirs": "1"}}'
        installed.kubectl("patch", "configmap/settings", "-n", namespace, "-p", patch)
        await client.apply(config_map(namespace, ours="2"))

    served(scenario)

    stored = read(installed, namespace, "configmap/settings")
    assert stored["data"] == {"ours": "2", "theirs": "1"}


def test_fields_of_someone_else_are_taken_over(served, installed, namespace):
    async def scenario(client):
        manifest = config_map(namespace, a="1")
        installed.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest))
        await client.apply(config_map(namespace, a="2"))

    served(scenario)

    assert read(installed, namespace, "configmap/settings")["data"] == {"a": "2"}


def test_only_new_creates_and_leaves_alone_what_exists(served, installed, namespace):
    async def scenario(client):
        for manifest in (config_map(namespace, a="1"), workflow(namespace, "orders")):
            made = await client.apply(manifest, only_new=True)
            with pytest.raises(errors.Conflict):
                await client.apply(manifest, only_new=True)
            again = await client.apply(manifest)
            assert again.resource_version == made.resource_version

    served(scenario)

    managed = read(installed, namespace, "configmap/settings")["metadata"]["managedFields"]
    assert [entry["operation"] for entry in managed] == ["Apply"]


def test_what_breaks_the_schema_is_invalid(served, namespace):
    async def scenario(client):
        broken = workflow(namespace, "orders")
        broken["spec"]["selector"] = {"matchLabels": "text"}
        with pytest.raises(errors.Invalid):
            await client.apply(broken)
        bad_name = config_map(namespace, "Not_A_Name")
        with pytest.raises(errors.Invalid):
            await client.apply(bad_name)

    served(scenario)


def test_a_status_has_its_own_manager_and_is_not_repeated(served, installed, namespace):
    ref = Ref(kinds.WORKFLOW, namespace, "orders")

    async def scenario(client):
        await client.apply(workflow(namespace))
        first = await client.apply_status(ref, {"observedGeneration": 1})
        return first, await client.apply_status(ref, {"observedGeneration": 1})

    first, second = served(scenario)

    stored = read(installed, namespace, "monitoredworkflow/orders")
    assert stored["status"] == {"observedGeneration": 1}
    assert first == second
    assert {
        (entry["manager"], entry.get("subresource"))
        for entry in stored["metadata"]["managedFields"]
    } == {
        ("flowgauge", None),
        ("flowgauge-status", "status"),
    }


def test_a_status_field_that_the_crd_does_not_know_means_an_outdated_crd(served, namespace):
    async def scenario(client):
        await client.apply(workflow(namespace))
        with pytest.raises(errors.SchemaOutdated):
            await client.apply_status(
                Ref(kinds.WORKFLOW, namespace, "orders"), {"fromTheFuture": 1}
            )

    served(scenario)


def test_a_status_of_what_is_gone_is_not_found(served, namespace):
    async def scenario(client):
        with pytest.raises(errors.NotFound):
            await client.apply_status(Ref(kinds.WORKFLOW, namespace, "absent"), {})

    served(scenario)


def test_a_namesake_is_not_deleted_and_what_is_gone_is_fine(served, namespace):
    ref = Ref(kinds.CONFIG_MAP, namespace, "settings")

    async def scenario(client):
        meta = await client.apply(config_map(namespace, a="1"))
        with pytest.raises(errors.Conflict):
            await client.delete(ref, uid="11111111-2222-3333-4444-555555555555")
        return await client.delete(ref, uid=meta.uid), await client.delete(ref)

    assert served(scenario) == (True, False)


def test_a_list_is_read_in_chunks_with_metadata_only(served, namespace):
    async def scenario(client):
        for number in range(7):
            await client.apply(config_map(namespace, f"c{number}", a="1"))
        await client.apply(config_map(namespace, "foreign", labels={"x": "y"}, a="1"))
        selector = "flowgauge.dev/managed=true"
        return [
            body async for body in client.list(kinds.CONFIG_MAP, namespace, selector, chunk=3)
        ], [
            body
            async for body in client.list(
                kinds.CONFIG_MAP, namespace, selector, metadata_only=False
            )
        ]

    short, full = served(scenario)

    assert [body["metadata"]["name"] for body in short] == [f"c{number}" for number in range(7)]
    assert all("data" not in body for body in short)
    assert all(body["data"] == {"a": "1"} for body in full)


def test_a_single_object_is_read_in_full_or_in_short(served, namespace):
    async def scenario(client):
        await client.apply(config_map(namespace, a="1"))
        ref = Ref(kinds.CONFIG_MAP, namespace, "settings")
        with pytest.raises(errors.NotFound):
            await client.get(Ref(kinds.CONFIG_MAP, namespace, "absent"))
        return await client.get(ref), await client.get(ref, metadata_only=True)

    full, short = served(scenario)

    assert full["data"] == {"a": "1"}
    assert short["kind"] == "PartialObjectMetadata"


def test_an_event_is_shown_with_its_object(served, installed, namespace):
    async def scenario(client):
        meta = await client.apply(workflow(namespace))
        ref = Ref(kinds.WORKFLOW, namespace, "orders", meta.uid)
        await client.post(Event(ref, "Repaired", "é" * 2000, "Apply", True, "pod-1"))
        for _ in range(2):
            await client.post(Event(ref, "Told", "only once", "Apply", False, "pod-1", once=True))

    served(scenario)

    shown = installed.kubectl("events", "--for=monitoredworkflow/orders", "-n", namespace)
    assert "Repaired" in shown
    assert "Warning" in shown
    assert shown.count("only once") == 1
    events = installed.get("events.events.k8s.io", "-n", namespace)["items"]
    (note,) = (event["note"] for event in events if event["reason"] == "Repaired")
    assert len(note.encode()) <= 1024
    assert note.endswith("é…")


def test_a_lease_is_swapped_only_if_it_has_not_moved(served, namespace):
    async def scenario(client):
        store = LeaseStore(client, namespace, "flowgauge")
        assert await store.read() is None
        first = await store.write(Lease("one", 15))
        await store.write(Lease("two", 15, version=first.version))
        with pytest.raises(errors.Conflict):
            await store.write(Lease("three", 15, version=first.version))
        with pytest.raises(errors.Conflict):
            await store.write(Lease("four", 15))
        return await store.read()

    assert served(scenario).holder == "two"


def test_leadership_passes_on_at_a_release(served, installed, namespace):
    timing = Timing(duration=3, deadline=2, retry=0.2, call=1)

    async def scenario(client):
        order = []

        def elected(name, seconds):
            async def work():
                order.append(name)
                await asyncio.sleep(seconds)

            store = LeaseStore(client, namespace, "flowgauge")
            return Elector(store, name, timing).lead(work)

        first = asyncio.create_task(elected("one", 1.0))
        await asyncio.sleep(0.3)
        await asyncio.gather(first, elected("two", 0.1))
        return order

    assert served(scenario) == ["one", "two"]
    spec = read(installed, namespace, "lease/flowgauge")["spec"]
    assert "holderIdentity" not in spec
    assert spec["leaseTransitions"] == 1


def test_a_small_role_sees_what_it_may(served, limited):
    wanted = [
        Watched(kinds.WORKFLOW),
        Watched(kinds.CONFIG_MAP, verbs=READ + WRITE),
        Watched(kinds.POD),
        Watched(kinds.GRAFANA_DASHBOARD),
    ]

    async def scenario(client):
        status = await client.may("patch", kinds.FLOWGAUGE, "monitoredworkflows/status")
        spec = await client.may("patch", kinds.FLOWGAUGE, "monitoredworkflows")
        return await presence.discover(client, wanted), status, spec

    found, status, spec = served(scenario, limited)

    assert found.present == {kinds.WORKFLOW, kinds.CONFIG_MAP}
    assert set(found.forbidden) == {kinds.POD}
    assert set(found.absent) == {kinds.GRAFANA_DASHBOARD}
    assert (status, spec) == (True, False)


def test_what_a_role_forbids_is_forbidden(served, limited, namespace):
    async def scenario(client):
        with pytest.raises(errors.Forbidden):
            await client.apply(workflow(namespace))

    served(scenario, limited)


def test_a_wrong_token_is_unauthorized(served, limited, namespace):
    wrong = Credentials(
        server=limited.server,
        ca_file=limited.ca_file,
        ca_data=limited.ca_data,
        verify=limited.verify,
        token="wrong",
    )

    async def scenario(client):
        with pytest.raises(errors.Unauthorized):
            await client.get(Ref(kinds.CONFIG_MAP, namespace, "x"))

    served(scenario, wrong)


def test_the_shell_follows_what_happens_under_a_small_role(served, limited, namespace):
    events = []

    def sink(kind, event_type, body):
        if body["metadata"]["namespace"] == namespace:
            events.append((kind.kind, event_type, body["metadata"]["name"]))

    async def scenario(client):
        await client.apply(config_map(namespace, "first", a="1"))
        wanted = [Watched(kinds.CONFIG_MAP, "flowgauge.dev/managed=true"), Watched(kinds.POD)]
        stop = asyncio.Event()
        shell = Shell(wanted, sink, limited, client)
        running = asyncio.create_task(shell.run(stop))
        await until(lambda: len(events) >= 1)
        await client.apply(config_map(namespace, "second", a="1"))
        await until(lambda: len(events) >= 2)
        await client.apply(config_map(namespace, "second", a="1"))
        await client.apply(config_map(namespace, "second", a="2"))
        await until(lambda: len(events) >= 3)
        # Without our label it is no longer ours: the filtered watch tells a deletion.
        await client.apply(config_map(namespace, "second", labels={"x": "y"}, a="2"))
        await until(lambda: len(events) >= 4)
        watching = shell.watching(kinds.CONFIG_MAP), shell.watching(kinds.POD)
        stop.set()
        await asyncio.wait_for(running, 10)
        return watching

    assert served(scenario, limited) == (True, False)
    assert events == [
        ("ConfigMap", None, "first"),
        ("ConfigMap", "ADDED", "second"),
        ("ConfigMap", "MODIFIED", "second"),
        ("ConfigMap", "DELETED", "second"),
    ]


def test_a_crd_that_comes_and_goes_is_followed(served, installed, namespace):
    """An own CRD under the name of a kind that we know, so that no other test is disturbed."""
    kind = kinds.GRAFANA_DASHBOARD
    if kind.plural in installed.kubectl("get", "crds", "-o", "name"):
        pytest_plugin.unavailable("the cluster has Grafana's CRDs; does another test leave them?")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": kind.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {"kind": kind.kind, "plural": kind.plural},
            "versions": [version],
        },
    }
    name = f"crd/{kind.plural}.{kind.group}"
    changes, restarts = [], []

    async def scenario(client):
        stop = asyncio.Event()
        found = credentials.load({}, path=installed.kubeconfig)
        shell = Shell(
            [Watched(kinds.WORKFLOW), Watched(kind)],
            lambda *_: None,
            found,
            client,
            look_seconds=0.5,
            on_change=changes.append,
            on_restart=restarts.append,
        )
        running = asyncio.create_task(shell.run(stop))
        await until(lambda: len(changes) >= 1, 60)
        await asyncio.to_thread(installed.kubectl, "apply", "-f", "-", stdin=json.dumps(crd))
        await until(lambda: len(changes) >= 2, 60)
        await until(lambda: shell.watching(kind))
        await asyncio.to_thread(installed.kubectl, "delete", name)
        await until(lambda: len(changes) >= 3, 60)
        await until(lambda: shell.watching(kinds.WORKFLOW))
        stop.set()
        await asyncio.wait_for(running, 40)

    served(scenario)

    assert [kind in found.present for found in changes] == [False, True, False]


def test_whether_a_pod_runs_is_told_by_its_metadata_alone(served, installed, namespace):
    spec = {"containers": [{"name": "main", "image": "x"}], "automountServiceAccountToken": False}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    installed.deploy([pod], namespace=namespace)
    installed.wait_for(
        lambda: installed.get("pod", "one", "-n", namespace)["status"].get("phase") == "Running",
        20,
        "the pod to run",
    )

    async def scenario(client):
        ref = Ref(kinds.POD, namespace, "one")
        fields = ("status.phase=Running", "status.phase!=Running", "status.phase!=Failed")
        return [await client.select(ref, one) for one in fields]

    running, other, lives = served(scenario)

    assert (running["metadata"]["name"], other) == ("one", None)
    assert lives == running
    assert "spec" not in running
    written = [m for m in running["metadata"]["managedFields"] if m.get("subresource") == "status"]
    assert written[0]["time"]
