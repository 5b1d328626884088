"""Find an API server, and who we are there: in a kubeconfig, else in the pod that we are in.

The official client reads the credentials and runs plugins, so this is the only module here that knows it.
"""

from __future__ import annotations

import binascii
import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes import client, config

from flowgauge_operator import kubeconfig
from flowgauge_operator.credentials import SERVICE_ACCOUNT, CredentialsError
from flowgauge_operator.doctor import impersonation
from flowgauge_operator.doctor.asking import Api
from flowgauge_operator.doctor.impersonation import Impersonation
from flowgauge_operator.doctor.snapshot import Unseen


class ClusterError(Exception):
    """The cluster cannot be asked at all; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How somebody wants to get in: nothing said is the current context of the usual kubeconfig."""

    kubeconfig: str = ""
    context: str = ""
    timeout: float = 10.0
    impersonation: Impersonation = field(default_factory=Impersonation)


def connect(entry: Entry) -> tuple[Api, str]:
    """The API server, which has answered, and the namespace of the context.

    Raises:
        ClusterError: there are no credentials, they cannot be used, or the server does not answer.
    """
    settings = client.Configuration()
    if _is_in_pod(entry):
        load: Any = config.load_incluster_config  # untyped in some versions
        load(client_configuration=settings)
        namespace = (SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        user: dict[str, Any] = {}
    else:
        namespace, user = _chosen(entry, settings)
    try:
        taken = impersonation.of(user, entry.impersonation)
    except ValueError as problem:
        raise ClusterError(str(problem)) from problem
    try:
        pool = client.ApiClient(settings).rest_client.pool_manager
    except Exception as problem:  # certificates and proxies, each with errors of its own
        raise ClusterError(f"the credentials cannot be used: {_told(problem)}") from problem
    api = Api(str(settings.host), pool, _Token(settings).get, taken, entry.timeout)
    _ask(api)
    return api, namespace


def _is_in_pod(entry: Entry) -> bool:
    usual = Path(os.environ.get("HOME", "")) / ".kube/config"
    named = entry.kubeconfig or entry.context or os.environ.get("KUBECONFIG") or usual.is_file()
    is_pod = os.environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT / "token").exists()
    return bool(is_pod and not named)


def _chosen(entry: Entry, settings: Any) -> tuple[str, dict[str, Any]]:
    """Load a context into the settings; its namespace, and its user as the kubeconfig says it."""
    path = Path(entry.kubeconfig).expanduser() if entry.kubeconfig else None
    try:
        chosen = kubeconfig.choose(os.environ, context=entry.context or None, path=path)
    except CredentialsError as problem:
        remedy = "name a kubeconfig by --kubeconfig or KUBECONFIG, and a context by --context"
        raise ClusterError(f"no credentials for a cluster: {_told(problem)}; {remedy}") from problem
    server = chosen.cluster.get("server")
    if not server:
        raise ClusterError(f"the cluster of context {chosen.context!r} has no server in the kubeconfig")  # fmt: skip
    if not str(server).startswith(("https://", "http://")):
        raise ClusterError(f"the server of context {chosen.context!r} must be a URL, such as https://{server}")  # fmt: skip
    load: Any = config.load_kube_config  # untyped in some versions
    try:
        with _listening() as heard:
            merged = os.pathsep.join(map(str, chosen.paths))
            load(config_file=merged, context=chosen.context, client_configuration=settings)
    except binascii.Error as problem:
        raise ClusterError(f"context {chosen.context!r} gives no credentials: a field that ends in -data of its cluster or user is not base64") from problem  # fmt: skip
    except Exception as problem:  # a plugin's own errors are of any type
        raise ClusterError(f"context {chosen.context!r} gives no credentials: {_told(problem)}") from problem  # fmt: skip
    if heard:
        told = [*heard, *_hint(chosen.user)]
        raise ClusterError(f"the credential plugin of the kubeconfig failed: {'; '.join(told)}")
    return chosen.namespace, dict(chosen.user)


def _hint(user: Mapping[str, Any]) -> Iterator[str]:
    """How the plugin is installed, where the kubeconfig says it."""
    plugin = user.get("exec")
    if isinstance(plugin, dict) and plugin.get("installHint"):
        yield " ".join(str(plugin["installHint"]).split())


def _told(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


def _ask(api: Api) -> None:
    answer = api.get("/version")
    if not isinstance(answer, Unseen):
        if isinstance(answer, dict) and "gitVersion" in answer:
            return
        raise ClusterError(f"what answers at {api.address} is no API server of Kubernetes; see `server` in the kubeconfig")  # fmt: skip
    told = f"the API server at {api.address} cannot be asked: {answer.why}"
    if answer.sort == "unauthorized":
        raise ClusterError(f"{told}; log in again, or name another context by --context")
    if answer.sort == "forbidden" and "impersonate" in answer.why:
        raise ClusterError(f"{told}; ask for the right to impersonate, or leave out `as` and --as")
    # Who may not see the version may see other things.
    if answer.sort != "forbidden":
        raise ClusterError(told)


class _Token:
    """The token of some settings, renewed when it has expired; one thread at a time."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._lock = threading.Lock()

    def get(self) -> str:
        """`Bearer …` or the like; empty without one."""
        with self._lock:
            # The key was renamed in 36.0.1; asking for it renews a token that has expired.
            keys = map(self._settings.get_api_key_with_prefix, ("BearerToken", "authorization"))
            return str(next(filter(None, keys), ""))


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """What is logged as an error meanwhile: the client logs that a plugin failed, and goes on as nobody."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(" ".join(record.getMessage().split()))

    listener = Listener(logging.ERROR)
    logging.getLogger().addHandler(listener)
    try:
        yield heard
    finally:
        logging.getLogger().removeHandler(listener)
