"""What one container of a pod amounts to, the first unless programs say another: its command, its environment, its files. Pure, apart from two look-ups.

Called by ``rig.kubelet``. Anything of a pod that the rig does not do is an error here, never silently left out; what a
process cannot have without a container runtime (limits, users, probes, a root file system) is left to real clusters.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
# kind, name -> the object in the pod's namespace; raises NoSuchObject
Lookup = Callable[[str, str], Mapping[str, Any]]


class UnsupportedPod(Exception):  # noqa: N818 - the name says what is wrong
    """A pod needs something that a process of the rig does not have."""


class NoSuchObject(Exception):  # noqa: N818 - the name says what is wrong
    """A look-up found nothing; a volume may say that it does without."""


@dataclass(frozen=True)
class Files:
    """A folder that the container sees; one without files is an empty, writable folder."""

    path: str
    files: Mapping[str, bytes]


def chosen(pod: Mapping[str, Any], programs: Mapping[str, Sequence[str]]) -> Mapping[str, Any]:
    """Return the pod with the one container that the rig runs: the first whose image is among the programs.

    ``programs`` maps the name of an image, without registry and tag, to the words that stand for its entrypoint here:
    ``{"prometheus-operator": ["/path/of/operator"]}``. They take the place of the first word of a command that the
    manifest gives. Without a match the first container stays as it is.
    """
    for container in pod["spec"]["containers"]:
        words = programs.get(image_name(container["image"]))
        if words is not None:
            command = [*words, *container.get("command", ())[1:]]
            return _alone(pod, {**container, "command": command})
    return _alone(pod, first(pod))


def image_name(image: str) -> str:
    """Return the name of an image without registry, tag and digest."""
    return image.rpartition("/")[2].partition("@")[0].partition(":")[0]


def _alone(pod: Mapping[str, Any], container: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**pod, "spec": {**pod["spec"], "containers": [container]}}


def first(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the container that the rig runs."""
    container: Mapping[str, Any] = pod["spec"]["containers"][0]
    return container


def has_token(pod: Mapping[str, Any]) -> bool:
    """Tell whether admission mounted the token of the pod's account."""
    return any(mount["mountPath"] == ACCOUNT_FOLDER for mount in first(pod).get("volumeMounts", ()))


def port(pod: Mapping[str, Any], name: str) -> int:
    """Return the number of a named port."""
    for item in first(pod).get("ports", ()):
        if item.get("name") == name:
            return int(item["containerPort"])
    raise UnsupportedPod(f"pod {pod['metadata']['name']} has no port called {name}")


def readiness(pod: Mapping[str, Any]) -> tuple[int, str]:
    """Return port and path of the readiness probe."""
    probe = first(pod).get("readinessProbe", {}).get("httpGet")
    if probe is None:
        raise UnsupportedPod(f"pod {pod['metadata']['name']} has no readiness probe over HTTP")
    wanted = probe["port"]
    return (wanted if isinstance(wanted, int) else port(pod, wanted)), probe.get("path", "/")


def environment(pod: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    """Return the variables that the manifest sets, references resolved."""
    found: dict[str, str] = {}
    for source in first(pod).get("envFrom", ()):
        found |= _all_of(source, lookup)
    for item in first(pod).get("env", ()):
        value = item.get("value", "") if "valueFrom" not in item else _value_from(item, pod, lookup)
        if value is not None:
            found[item["name"]] = expand(value, found)
    return found


def command(pod: Mapping[str, Any], env: Mapping[str, str], entrypoint: Sequence[str]) -> list[str]:
    """Return the words to execute; ``entrypoint`` is what the image would start by itself."""
    container = first(pod)
    start = container.get("command") or entrypoint
    if not start:
        raise UnsupportedPod(
            f"container {container['name']} has no command, and no image to take one from: give an entrypoint"
        )
    return [expand(word, env) for word in [*start, *container.get("args", ())]]


def expand(text: str, env: Mapping[str, str]) -> str:
    """Fill in ``$(NAME)`` as a kubelet does: an unknown name stays, ``$$`` is a dollar sign."""

    def fill(match: re.Match[str]) -> str:
        return "$" if match.group(0) == "$$" else env.get(match.group(1), match.group(0))

    return re.sub(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)", fill, text)


def volumes(pod: Mapping[str, Any], lookup: Lookup) -> Iterator[Files]:
    """Return the folders of the pod's volumes, without that of the account's token."""
    by_name = {volume["name"]: volume for volume in pod["spec"].get("volumes", ())}
    for mount in first(pod).get("volumeMounts", ()):
        if mount["mountPath"] == ACCOUNT_FOLDER:
            continue
        yield _mounted(mount, _contents(by_name[mount["name"]], lookup))


def _mounted(mount: Mapping[str, Any], files: Mapping[str, bytes]) -> Files:
    if "subPath" not in mount:
        return Files(mount["mountPath"], files)
    if not files:
        # A folder in an empty volume is as empty.
        return Files(mount["mountPath"], {})
    if mount["subPath"] not in files:
        raise UnsupportedPod(f"volume mount {mount['name']} has no file {mount['subPath']}")
    # One file; here it is alone in its folder, which hides what an image has beside it.
    folder, _, name = mount["mountPath"].rpartition("/")
    return Files(folder, {name: files[mount["subPath"]]})


def _contents(volume: Mapping[str, Any], lookup: Lookup) -> Mapping[str, bytes]:
    # A claim is bound to nothing here: its folder is empty at first, and gone with the process.
    if "emptyDir" in volume or "persistentVolumeClaim" in volume:
        return {}
    if "projected" in volume:
        merged: dict[str, bytes] = {}
        for source in volume["projected"].get("sources") or ():
            merged |= _contents(_as_volume(volume["name"], source), lookup)
        return merged
    for key, kind, name in (("configMap", "configmap", "name"), ("secret", "secret", "secretName")):
        if key in volume:
            return _projected(volume[key], kind, volume[key][name], lookup)
    kinds = ", ".join(key for key in volume if key != "name")
    raise UnsupportedPod(
        f"volume {volume['name']} is a {kinds}: the rig has emptyDir, persistentVolumeClaim, configMap, secret, projected"
    )


def _projected(
    source: Mapping[str, Any], kind: str, name: str, lookup: Lookup
) -> Mapping[str, bytes]:
    try:
        data = _data(lookup(kind, name))
    except NoSuchObject:
        if source.get("optional"):
            return {}
        raise
    items = source.get("items")
    return {item["path"]: data[item["key"]] for item in items} if items else data


def _as_volume(name: str, source: Mapping[str, Any]) -> Mapping[str, Any]:
    """A source of a projected volume, which names a Secret otherwise, as a volume."""
    if "secret" in source:
        secret = source["secret"]
        return {"name": name, "secret": {**secret, "secretName": secret["name"]}}
    return {"name": name, **source}


def _data(source: Mapping[str, Any]) -> dict[str, bytes]:
    if source["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in source.get("data", {}).items()}
    return {key: value.encode() for key, value in source.get("data", {}).items()}


def _all_of(source: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    prefix = source.get("prefix", "")
    kind, reference = (
        ("configmap", "configMapRef") if "configMapRef" in source else ("secret", "secretRef")
    )
    data = _data(lookup(kind, source[reference]["name"]))
    return {f"{prefix}{key}": value.decode() for key, value in data.items()}


def _value_from(item: Mapping[str, Any], pod: Mapping[str, Any], lookup: Lookup) -> str | None:
    source = item["valueFrom"]
    if "fieldRef" in source:
        return _field(pod, source["fieldRef"]["fieldPath"])
    for key, kind in (("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")):
        if key in source:
            reference = source[key]
            data = _data(lookup(kind, reference["name"]))
            if reference["key"] not in data and reference.get("optional"):
                return None
            return data[reference["key"]].decode()
    raise UnsupportedPod(f"variable {item['name']} takes its value from {', '.join(source)}")


def _field(pod: Mapping[str, Any], path: str) -> str:
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if keyed:
        return str(pod["metadata"].get(keyed.group(1), {}).get(keyed.group(2), ""))
    value: Any = pod
    for key in path.split("."):
        value = value.get(key, "") if isinstance(value, Mapping) else ""
    return str(value)
