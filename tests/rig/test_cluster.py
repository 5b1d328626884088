"""A real control plane: pods get addresses, processes answer for them, and errors say what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig import chart, fetch, process, waiting
from rig.kubelet import Kubelet

pytestmark = pytest.mark.cluster

# In the pod: whoami and the API server's answer to a question that the account may not ask.
SERVE = """
A=/var/run/secrets/kubernetes.io/serviceaccount
cd /run  # the pod's own
echo "$POD_IP $(cat $A/namespace)" > index.html
exec python3 -m http.server 8000
"""


def deployment(name="web", *, replicas=1, account="default"):
    container = {
        "name": name,
        "image": "rig/web",
        "command": ["sh", "-c", SERVE],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"port": "http", "path": "/"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"serviceAccountName": account, "containers": [container]},
            },
        },
    }


def service(name="web", port=8000):
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "clusterIP": "None",
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port}],
        },
    }


def test_a_deployment_gets_addresses_and_endpoints(own_cluster, namespace):
    own_cluster.deploy([deployment(replicas=2), service()], namespace=namespace)

    pods = own_cluster.wait_pods(namespace, "app=web", count=2)
    addresses = {pod["status"]["podIP"] for pod in pods}

    def endpoints():
        slices = own_cluster.get("endpointslices", f"--namespace={namespace}")["items"]
        found = {a for s in slices for e in s.get("endpoints") or () for a in e["addresses"]}
        return found == addresses

    assert all(address.startswith("10.244.") for address in addresses)
    own_cluster.wait_for(endpoints, 10, "the EndpointSlice")


def test_two_pods_answer_on_the_same_port(own_cluster, namespace):
    own_cluster.deploy([deployment(replicas=2)], namespace=namespace)
    kubelet = Kubelet(own_cluster)

    started = [kubelet.run(pod) for pod in own_cluster.wait_pods(namespace, "app=web", count=2)]

    for container in started:
        container.wait_ready()
        assert fetch.text(container.url("http")) == f"{container.address} {namespace}\n"


def test_a_process_is_killed_and_comes_back_in_the_same_pod(own_cluster, namespace):
    own_cluster.deploy([deployment()], namespace=namespace)
    (pod,) = own_cluster.wait_pods(namespace, "app=web")
    container = Kubelet(own_cluster).run(pod)
    container.wait_ready()

    container.kill()

    assert container.exit_status == -9
    container.restart()
    container.wait_ready()


def test_a_process_acts_as_its_service_account_and_the_audit_log_knows(own_cluster, namespace):
    ask = """
A=/var/run/secrets/kubernetes.io/serviceaccount
exec python3 - <<EOF
import ssl, urllib.request
url = "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/$(NAMESPACE)/secrets"
headers = {"Authorization": "Bearer " + open("$A/token").read()}
context = ssl.create_default_context(cafile="$A/ca.crt")
urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context)
EOF
"""
    manifest = deployment()
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    reference = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    container |= {
        "command": ["sh", "-c", ask],
        "env": [{"name": "NAMESPACE", "valueFrom": reference}],
    }
    own_cluster.deploy([manifest], namespace=namespace)
    (pod,) = own_cluster.wait_pods(namespace, "app=web")
    mark = own_cluster.audit_mark()

    running = Kubelet(own_cluster).run(pod)
    own_cluster.wait_for(lambda: not running.is_running, 10, "the question to be asked")

    (request,) = own_cluster.audit(f"system:serviceaccount:{namespace}:", since=mark)
    assert (request.verb, request.resource, request.code) == ("list", "secrets", 403)
    assert "403: Forbidden" in running.tail()


def test_a_chart_runs_as_processes(own_cluster, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "crds").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: toy\nversion: 0.1.0\n")
    (tmp_path / "values.yaml").write_text("replicas: 1\npath: /namespace\nstatus: 0\n")
    (tmp_path / "crds" / "toys.yaml").write_text(CRD)
    (tmp_path / "templates" / "all.yaml").write_text(TEMPLATE)

    release = chart.install(
        own_cluster,
        tmp_path,
        release="toy",
        namespace="toy-system",
        path=[Path("/usr/bin")],
        overrides={"replicas": 2},
    )
    release.wait_ready()

    assert len(release.containers) == 2
    assert own_cluster.get("crd", "toys.example.invalid")

    before = release.containers
    release.upgrade(overrides={"replicas": 1, "path": "/token"})
    release.wait_ready()
    assert len(release.containers) == 1
    assert "/token" in str(release.containers[0].pod["spec"])
    own_cluster.wait_for(lambda: not any(item.is_running for item in before), 10, "a rollout")

    release.upgrade(overrides={"replicas": 1, "path": "/token", "status": 0})
    assert release.containers[0].is_running
    assert "toy-test" in release.test()
    release.upgrade(overrides={"replicas": 1, "path": "/token", "status": 3})
    with pytest.raises(chart.ChartError, match="(?s)toy-test failed.*it ends with 3"):
        release.test()

    release.uninstall()
    assert not any(container.is_running for container in release.containers)
    assert own_cluster.pods("toy-system", "app=toy") == []
    own_cluster.kubectl("delete", "crd", "toys.example.invalid")
    own_cluster.delete_namespace("toy-system")


def test_a_part_that_dies_says_who_it_was_and_what_it_said(tmp_path):
    part = process.Process("toy", ["sh", "-c", "echo no such flag; exit 2"], log=tmp_path / "log")
    part.start()

    with pytest.raises(process.PartFailed) as caught:
        part.wait_ready(lambda: False, timeout=10)

    message = str(caught.value)
    assert "toy: ended with status 2" in message
    assert "command: sh -c" in message
    assert "no such flag" in message


def test_a_wait_that_fails_says_for_what_and_why():
    def ask():
        raise OSError("connection refused")

    with pytest.raises(
        TimeoutError, match="waited 0 s for the moon; the last try said: connection"
    ):
        waiting.wait_for(ask, 0, "the moon")


CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: toys.example.invalid}
spec:
  group: example.invalid
  scope: Namespaced
  names: {kind: Toy, plural: toys}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""

TEMPLATE = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: toy, namespace: {{ .Release.Namespace }}}
---
apiVersion: example.invalid/v1
kind: Toy
metadata: {name: first, namespace: {{ .Release.Namespace }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: toy, namespace: {{ .Release.Namespace }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: toy}}
  template:
    metadata: {labels: {app: toy}}
    spec:
      serviceAccountName: toy
      volumes: [{name: scratch, emptyDir: {}}]
      containers:
      - name: toy
        image: rig/toy
        command: [python3, -m, http.server, "8080", -d, /var/run/secrets/kubernetes.io/serviceaccount]
        volumeMounts: [{name: scratch, mountPath: /var/cache/toy}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {port: http, path: {{ .Values.path }}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: toy-test
  namespace: {{ .Release.Namespace }}
  annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: before-hook-creation}
spec:
  restartPolicy: Never
  containers:
  - name: ask
    image: rig/toy
    command: [sh, -c, "echo it ends with {{ .Values.status }}; exit {{ .Values.status }}"]
"""
