"""Read a kubeconfig into `Credentials`. Called by `credentials.load` outside a cluster; a small parser of our own.

Credential plugins (`exec`, `auth-provider`) are left to the official client, which the extra `flowgauge[cli]` brings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flowgauge_operator.credentials import Credentials, CredentialsError, pem

_SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}


@dataclass(frozen=True)
class Chosen:
    """A context, with its cluster and its user as they are written."""

    paths: Sequence[Path]
    context: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    namespace: str


def choose(env: Mapping[str, str], *, context: str | None, path: Path | None) -> Chosen:
    """Return a context (default: the current one); raise CredentialsError where it cannot be read."""
    paths = [path] if path is not None else _paths(env)
    config = _merged(paths)
    name = context or config["current-context"]
    if not name:
        raise CredentialsError(f"{_spelled(paths)}: no current-context; choose one with --context")
    chosen = _entry(config, "contexts", name, paths)
    cluster = _entry(config, "clusters", chosen.get("cluster", ""), paths)
    user = _entry(config, "users", chosen["user"], paths) if chosen.get("user") else {}
    return Chosen(paths, name, cluster, user, str(chosen.get("namespace") or "default"))


def load(env: Mapping[str, str], *, context: str | None, path: Path | None) -> Credentials:
    """Return the credentials of a context (default: the current one); raise CredentialsError."""
    chosen = choose(env, context=context, path=path)
    if unsupported := [key for key in ("tls-server-name",) if chosen.cluster.get(key)]:
        raise CredentialsError(f"{_spelled(chosen.paths)}: {unsupported[0]} is not supported")
    if "exec" in chosen.user or "auth-provider" in chosen.user:
        return _by_plugin(chosen.paths, chosen.context, chosen.namespace)
    return _record(chosen.cluster, chosen.user, chosen.namespace)


def _paths(env: Mapping[str, str]) -> list[Path]:
    listed = [Path(part) for part in env.get("KUBECONFIG", "").split(":") if part]
    found = listed or [Path(env.get("HOME", "")) / ".kube/config"]
    existing = [path for path in found if path.is_file()]
    if not existing:
        raise CredentialsError(
            f"no credentials: not in a pod, and no kubeconfig at {_spelled(found)};"
            " set KUBECONFIG to its path"
        )
    return existing


def _merged(paths: Sequence[Path]) -> dict[str, Any]:
    """Merge the files as kubectl does: the first one that names something wins."""
    config: dict[str, Any] = {"current-context": "", **{section: {} for section in _SECTIONS}}
    for path in paths:
        loaded = _read(path)
        config["current-context"] = config["current-context"] or loaded.get("current-context", "")
        for section, key in _SECTIONS.items():
            for item in _items(loaded, section, path):
                entry = {**(item.get(key) or {}), "folder": path.parent}
                config[section].setdefault(item.get("name"), entry)
    return config


def _items(loaded: dict[str, Any], section: str, path: Path) -> list[dict[str, Any]]:
    found = loaded.get(section) or []
    key = _SECTIONS[section]
    if not isinstance(found, list) or not all(
        isinstance(item, dict) and isinstance(item.get(key) or {}, dict) for item in found
    ):
        raise CredentialsError(f"{path}: {section} must be a list of items with name and {key}")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CredentialsError(f"cannot read the kubeconfig {path}: {error}") from error
    if not isinstance(loaded, dict):
        raise CredentialsError(f"{path} is not a kubeconfig")
    return loaded


def _entry(
    config: dict[str, Any], section: str, name: str, paths: Sequence[Path]
) -> dict[str, Any]:
    try:
        entry: dict[str, Any] = config[section][name]
    except (KeyError, TypeError):  # a list or a map is no name
        known = ", ".join(sorted(map(str, config[section]))) or "none"
        what = _SECTIONS[section]
        raise CredentialsError(
            f"{_spelled(paths)}: no {what} named {name!r} (there are: {known})"
        ) from None
    return entry


def _record(cluster: Mapping[str, Any], user: Mapping[str, Any], namespace: str) -> Credentials:
    if any(key.startswith("as") for key in user):
        # Ignoring it would act with more rights than the user asked for.
        raise CredentialsError("impersonation (`as`) in a kubeconfig is not supported")
    if not cluster.get("server"):
        raise CredentialsError("the kubeconfig's cluster has no server")
    return Credentials(
        server=cluster["server"].rstrip("/"),
        namespace=namespace,
        ca_file=_file(cluster, "certificate-authority"),
        ca_data=_data(cluster, "certificate-authority-data"),
        token=user.get("token"),
        token_file=_file(user, "tokenFile"),
        cert_file=_file(user, "client-certificate"),
        cert_data=_data(user, "client-certificate-data"),
        key_file=_file(user, "client-key"),
        key_data=_data(user, "client-key-data"),
        verify=not cluster.get("insecure-skip-tls-verify", False),
        proxy=cluster.get("proxy-url"),
    )


def _file(entry: Mapping[str, Any], key: str) -> Path | None:
    """Return the path; inline data beats a file, and relative means beside the kubeconfig."""
    if not entry.get(key) or entry.get(f"{key}-data"):
        return None
    folder: Path = entry["folder"]
    return folder / Path(entry[key]).expanduser()


def _data(entry: Mapping[str, Any], key: str) -> str | None:
    if not entry.get(key):
        return None
    try:
        return pem(entry[key])
    except ValueError as error:
        raise CredentialsError(f"the kubeconfig's {key} is not base64: {error}") from error


def _by_plugin(paths: Sequence[Path], context: str, namespace: str) -> Credentials:
    try:
        from kubernetes import client, config  # noqa: PLC0415 - heavy, and absent in the image
    except ImportError:
        raise CredentialsError(
            f"context {context!r} gets its credentials from a plugin, which needs the official"
            " client: pip install 'flowgauge[cli]'"
        ) from None
    found = client.Configuration()
    read: Any = config.load_kube_config  # untyped in some versions
    try:
        merged = ":".join(map(str, paths))
        read(merged, context, client_configuration=found)
    except Exception as error:  # the plugin's own errors are of any type
        raise CredentialsError(f"context {context!r}: {error}") from error
    return _from_official(found, namespace)


def _from_official(found: Any, namespace: str) -> Credentials:
    def token() -> str | None:
        # Runs the plugin again when its token has expired. The key was renamed in 36.0.1.
        try:
            values = map(found.get_api_key_with_prefix, ("BearerToken", "authorization"))
            value = next(filter(None, values), None)
        except Exception as error:  # the plugin's own errors are of any type
            raise CredentialsError(f"the credential plugin failed: {error}") from error
        return str(value).removeprefix("Bearer ") if value else None

    return Credentials(
        server=str(found.host).rstrip("/"),
        namespace=namespace,
        ca_file=Path(found.ssl_ca_cert) if found.ssl_ca_cert else None,
        fetch_token=token,
        cert_file=Path(found.cert_file) if found.cert_file else None,
        key_file=Path(found.key_file) if found.key_file else None,
        verify=bool(found.verify_ssl),
        proxy=found.proxy,
    )


def _spelled(paths: Sequence[Path]) -> str:
    return ":".join(map(str, paths))
