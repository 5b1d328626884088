"""What becomes of a pod's container when it is a process."""

from __future__ import annotations

import base64

import pytest

from rig import containers, placement

pytestmark = pytest.mark.unit

POD = {
    "metadata": {"name": "web-1", "namespace": "demo", "uid": "u-1", "labels": {"app": "web"}},
    "spec": {
        "nodeName": "rig-node",
        "serviceAccountName": "web",
        "volumes": [
            {"name": "config", "configMap": {"name": "web"}},
            {"name": "scratch", "emptyDir": {}},
        ],
        "containers": [
            {
                "name": "web",
                "args": ["--name=$(POD_NAME)", "--price=$$(POD_NAME)", "$(UNKNOWN)"],
                "env": [
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {
                        "name": "APP",
                        "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}},
                    },
                    {
                        "name": "LEVEL",
                        "valueFrom": {"configMapKeyRef": {"name": "web", "key": "level"}},
                    },
                    {"name": "URL", "value": "http://$(POD_IP)/"},
                ],
                "ports": [{"name": "metrics", "containerPort": 8080}],
                "readinessProbe": {"httpGet": {"port": "metrics", "path": "/readyz"}},
                "volumeMounts": [
                    {"name": "config", "mountPath": "/etc/web"},
                    {"name": "scratch", "mountPath": "/scratch"},
                ],
            }
        ],
    },
    "status": {"podIP": "10.244.0.7"},
}


def look_up(kind, name):
    assert (kind, name) == ("configmap", "web")
    return {"kind": "ConfigMap", "data": {"level": "debug"}}


def test_variables_come_from_the_manifest_with_references_resolved():
    assert containers.environment(POD, look_up) == {
        "POD_NAME": "web-1",
        "POD_IP": "10.244.0.7",
        "APP": "web",
        "LEVEL": "debug",
        "URL": "http://10.244.0.7/",
    }


def test_arguments_are_expanded_as_a_kubelet_does():
    words = containers.command(POD, {"POD_NAME": "web-1"}, ["serve"])

    assert words == ["serve", "--name=web-1", "--price=$(POD_NAME)", "$(UNKNOWN)"]


def test_a_container_without_command_needs_an_entrypoint():
    with pytest.raises(containers.UnsupportedPod, match="give an entrypoint"):
        containers.command(POD, {}, [])


def test_a_config_map_is_a_folder_of_files_and_an_empty_dir_is_empty():
    assert list(containers.volumes(POD, look_up)) == [
        containers.Files("/etc/web", {"level": b"debug"}),
        containers.Files("/scratch", {}),
    ]


def test_a_secret_is_decoded():
    pod = {
        "spec": {
            "volumes": [{"name": "s", "secret": {"secretName": "web"}}],
            "containers": [{"name": "web", "volumeMounts": [{"name": "s", "mountPath": "/s"}]}],
        }
    }
    secret = {"kind": "Secret", "data": {"key": base64.b64encode(b"value").decode()}}

    assert list(containers.volumes(pod, lambda *_: secret)) == [
        containers.Files("/s", {"key": b"value"})
    ]


def mounted(volume, **mount):
    mounts = [{"name": "v", "mountPath": "/v/file", **mount}]
    containers_ = [{"name": "web", "volumeMounts": mounts}]
    return {"spec": {"volumes": [{"name": "v", **volume}], "containers": containers_}}


def secret_only(kind, name):
    if (kind, name) != ("secret", "web"):
        raise containers.NoSuchObject(name)
    return {"kind": "Secret", "data": {"key": base64.b64encode(b"value").decode()}}


@pytest.mark.parametrize(
    ("pod", "files"),
    [
        (mounted({"persistentVolumeClaim": {"claimName": "x"}}), ("/v/file", {})),
        (mounted({"emptyDir": {}}, subPath="below"), ("/v/file", {})),
        (mounted({"secret": {"secretName": "web"}}, subPath="key"), ("/v", {"file": b"value"})),
        (mounted({"configMap": {"name": "none", "optional": True}}), ("/v/file", {})),
        (
            mounted({"projected": {"sources": [{"secret": {"name": "web"}}]}}),
            ("/v/file", {"key": b"value"}),
        ),
    ],
)
def test_volumes_of_operators_are_had(pod, files):
    assert list(containers.volumes(pod, secret_only)) == [containers.Files(*files)]


def test_an_object_that_is_not_optional_is_missed():
    pod = mounted({"configMap": {"name": "none"}})

    with pytest.raises(containers.NoSuchObject):
        list(containers.volumes(pod, secret_only))


def test_a_volume_that_the_rig_lacks_is_an_error():
    pod = {
        "spec": {
            "volumes": [{"name": "disk", "hostPath": {"path": "/x"}}],
            "containers": [{"name": "web", "volumeMounts": [{"name": "disk", "mountPath": "/d"}]}],
        }
    }

    with pytest.raises(containers.UnsupportedPod, match="disk is a hostPath"):
        list(containers.volumes(pod, look_up))


def test_the_readiness_probe_may_name_its_port():
    assert containers.readiness(POD) == (8080, "/readyz")


def test_a_pod_without_token_is_told_from_one_with():
    mount = {"name": "kube-api-access", "mountPath": containers.ACCOUNT_FOLDER}
    automounted = {"spec": {"containers": [{"volumeMounts": [mount]}]}}

    assert containers.has_token(automounted)
    assert not containers.has_token(POD)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "ReplicaSet", "Job"])
def test_workloads_are_put_on_the_node(kind):
    manifest = {"kind": kind, "spec": {"template": {"spec": {}}}}

    (placed,) = placement.placed([manifest], "node")

    assert placed["spec"]["template"]["spec"]["nodeName"] == "node"
    assert manifest["spec"]["template"]["spec"] == {}


def test_other_kinds_stay_as_they_are():
    service = {"kind": "Service", "spec": {"ports": []}}

    assert placement.placed([service], "node") == [service]


def test_programs_say_which_container_runs_and_what_stands_for_its_image():
    web = {
        "name": "web",
        "image": "registry.example.com:5000/team/web:1.2@sha256:0a",
        "args": ["-v"],
    }
    operator = {"name": "operator", "image": "q/operator:v1", "command": ["/bin/operator", "run"]}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [web, operator]}}

    def run(programs):
        made = containers.chosen(pod, programs)
        return [item["name"] for item in made["spec"]["containers"]], containers.command(
            made, {}, ["start"]
        )

    assert run({}) == (["web"], ["start", "-v"])
    assert run({"web": ["/local/web", "serve"]}) == (["web"], ["/local/web", "serve", "-v"])
    assert run({"operator": ["/local/operator"]}) == (["operator"], ["/local/operator", "run"])
    assert len(pod["spec"]["containers"]) == 2
