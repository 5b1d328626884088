"""Every name that users and other programs can see: labels, annotations, object names, dashboard uids. Pure."""

from __future__ import annotations

import hashlib
import re

GROUP = "flowgauge.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "MonitoredWorkflow"

FIELD_MANAGER = "flowgauge"
STATUS_FIELD_MANAGER = "flowgauge-status"
DISCOVERY_FIELD_MANAGER = "flowgauge-discovery"

# The two labels that identify a series' owner. Prometheus Operator adds the first, our relabeling the second.
NAMESPACE_LABEL = "namespace"
WORKFLOW_LABEL = "monitored_workflow"
# A series that is there while a workflow's rules are loaded; its label revision says which.
INFO = "workflow:monitoring:info"
# Labels of alerts that inhibition goes by: page or ticket of one objective; cause, absence or effect when a workflow is
# dead as a whole.
BURN_TIER_LABEL = "burn_tier"
OUTAGE_LABEL = "outage"

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "flowgauge"
MANAGED_SELECTOR = f"{MANAGED_BY}={MANAGER}"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
RELEASE = "app.kubernetes.io/version"  # on a definition: the version of Flowgauge that brought it

WORKFLOW = f"{GROUP}/workflow"  # label: on a workflow's children; on its Service it becomes monitored_workflow
SHARED = f"{GROUP}/shared"  # label: on what the workflows of a namespace share
HASH = f"{GROUP}/hash"  # annotation: digest of the content that we applied
PATH = f"{GROUP}/path"  # annotations of a Service that the shared ServiceMonitor reads
INTERVAL = f"{GROUP}/interval"
TIMEOUT = f"{GROUP}/timeout"
PODS = f"{GROUP}/pods"  # annotation of the shared PodMonitor: what each of its workflows asked for

# Annotations of pods; `prometheus.io/port` and `prometheus.io/path` are read as well.
PROFILE = f"{GROUP}/profile"
POD_PORT = f"{GROUP}/port"
KEEP = f"{GROUP}/keep"  # also on a discovered workflow, with what was decided
# A workflow that was made for annotated pods: its mark, and since when it has no pod.
DISCOVERED = f"{GROUP}/discovered"  # label
PODS_GONE = f"{GROUP}/pods-gone-since"  # annotation
MONITOR = f"{GROUP}/monitor"  # label of pods, where the API server is to filter them

SHARED_MONITOR = "flowgauge-shared"
SHARED_PODS = "flowgauge-pods"
SHARED_DASHBOARDS = (
    "flowgauge-dashboards"  # a ConfigMap with both; as GrafanaDashboards they are two objects
)
SHARED_FLEET = "flowgauge-fleet"
SHARED_OBJECTIVES = "flowgauge-objectives"
OPERATOR_UID = "fg-operator"  # of the dashboard of the operator itself
PORT = "metrics"  # what every Service port is called, whatever the pod's port is

_DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def digest(text: str, length: int = 8) -> str:
    """A short stable hex digest, for names and uids."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()[:length]


def child(workflow: str, suffix: str) -> str:
    """The name of a workflow's child: `orders-metrics`; a valid DNS label whatever the workflow is called.

    A workflow's name may be a DNS subdomain that begins with a digit or holds dots; a Service's may not.
    """
    plain = f"{workflow}-{suffix}"
    if _DNS_LABEL.fullmatch(plain):
        return plain
    slug = re.sub(r"[^a-z0-9-]", "-", workflow)[:40].strip("-")
    return f"fg-{slug}-{digest(workflow)}-{suffix}"


def dashboard_uid(namespace: str, workflow: str) -> str:
    """The uid of a workflow's dashboard: at most 40 characters of `[a-z0-9-]`, the same in every render."""
    return f"fg-{digest(f'{namespace}/{workflow}', 24)}"


def fleet_uid(namespace: str | None) -> str:
    """The uid of the dashboard that lists the workflows of a namespace; None stands for all of them."""
    return f"fg-fleet-{digest(namespace, 24)}" if namespace is not None else "fg-fleet"


def objectives_uid(namespace: str | None) -> str:
    """The uid of the dashboard that looks at one objective of a namespace; None stands for all of them."""
    return f"fg-objectives-{digest(namespace, 24)}" if namespace is not None else "fg-objectives"


def group(namespace: str, workflow: str, part: str) -> str:
    """The name of a rule group; unique over the cluster, so that Prometheus' answer tells whose it is."""
    return f"flowgauge/{namespace}/{workflow}/{part}"
