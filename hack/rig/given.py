"""A cluster that somebody else runs, from KUBECONFIG: the rig starts nothing and deletes only what it made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rig.access import Access
from rig.kubectl import Kubectl

VARIABLE = "KUBECONFIG"
PROMETHEUS = "FLOWGAUGE_PROMETHEUS_URL"
ALERTMANAGER = "FLOWGAUGE_ALERTMANAGER_URL"


def is_given(env: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the user points us at a cluster."""
    return bool(env.get(VARIABLE))


def access() -> Access:
    """Read how to reach the cluster of the current context."""
    kubeconfig = Path(os.environ[VARIABLE])
    config = Kubectl(kubeconfig).get_config()
    return Access(kubeconfig, config["clusters"][0]["cluster"]["server"])


def url(variable: str) -> str | None:
    """Return the address of a part of the given cluster, if the user named one."""
    return os.environ.get(variable) or None
