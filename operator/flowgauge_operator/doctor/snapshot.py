"""Everything that was seen of a cluster, as plain records. Pure; `gather` fills them, the checks read them.

What could not be read is an `Unseen` in its place, so that a check can never take it for empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowgauge_operator import names
from flowgauge_operator.render import Capabilities, Options, Rendered
from flowgauge_operator.settings import Settings
from flowgauge_operator.verify import Observation, Owner

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why something could not be read, and what the reader may do about it.

    `sort` is forbidden, absent (there is no such object or kind), unasked or failed.
    """

    why: str
    remedy: str = ""
    sort: str = "failed"


Bodies = Sequence[Body] | Unseen
UNASKED = Unseen("it was not asked for", sort="unasked")


@dataclass(frozen=True, slots=True)
class Access:
    """One right: may `user` (empty: whoever runs this) do `verb` there? An empty namespace means all."""

    user: str
    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def spelled(self) -> str:
        """The right as RBAC messages spell it."""
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        sub = f"/{self.subresource}" if self.subresource else ""
        return f"{self.verb} {resource}{sub}"


@dataclass(frozen=True, slots=True)
class Held:
    """Who holds a Lease, and when it was renewed; an empty holder is nobody."""

    holder: str
    renewed: datetime | None


@dataclass(frozen=True, slots=True)
class Installed:
    """One Deployment of the operator, and what was read from it. `faults` are flags that cannot be read."""

    deployment: Body
    settings: Settings
    faults: Sequence[str] = ()
    pods: Bodies = ()
    lease: Held | Unseen | None = None

    @property
    def namespace(self) -> str:
        """The namespace of the operator."""
        return str(self.deployment["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """The name of the Deployment."""
        return str(self.deployment["metadata"]["name"])

    @property
    def account(self) -> str:
        """The user name of its ServiceAccount."""
        spec = self.deployment["spec"]["template"]["spec"]
        return account(self.namespace, spec.get("serviceAccountName") or "default")


def account(namespace: str, name: str) -> str:
    """The user name of a ServiceAccount."""
    return f"system:serviceaccount:{namespace}:{name}"


@dataclass(frozen=True, slots=True)
class Server:
    """A server with an HTTP API: the way that leads to it, and what it answered by the name of the question.

    `error` says why none of the ways that were tried led to it.
    """

    way: str = ""
    error: Unseen | None = None
    answers: Mapping[str, Any] = field(default_factory=dict)
    name: str = "Prometheus"

    def answer(self, question: str) -> Any:
        """The answer to a question, or an `Unseen`; why the server does not answer is told once, by its own check."""
        if self.error is not None:
            return Unseen(
                f"{self.name} does not answer", f"see the finding {self.name.lower()}-answers"
            )
        return self.answers.get(question, UNASKED)


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow and what belongs to it. `rendered` is what the operator would make of it, None where it cannot.

    `policies` are those of its namespace and of the namespaces of Prometheus, of which some may be `policies_unseen`.
    """

    namespace: str
    name: str
    body: Body | Unseen
    profiles: Mapping[str, Body | Unseen] = field(default_factory=dict)
    rendered: Rendered | None = None
    faults: Sequence[str] = ()
    pods: Bodies = ()
    services: Bodies = ()
    slices: Bodies = ()
    monitors: Bodies = ()
    rules: Bodies = ()
    dashboards: Bodies = ()
    notifications: Bodies = ()
    policies: Bodies = ()
    policies_unseen: Unseen | None = None
    observation: Observation | None = None

    @property
    def owner(self) -> Owner:
        """Namespace and name, as series carry them."""
        return Owner(self.namespace, self.name)

    @property
    def title(self) -> str:
        """How a person names it."""
        return f"{self.namespace}/{self.name}"

    @property
    def spec(self) -> Mapping[str, Any]:
        """The spec; empty where there is no workflow."""
        return {} if isinstance(self.body, Unseen) else self.body.get("spec") or {}

    @property
    def is_discovered(self) -> bool:
        """Whether it was made for annotated pods, and follows them until somebody changes its spec."""
        labels = {} if isinstance(self.body, Unseen) else self.body["metadata"].get("labels") or {}
        return labels.get(names.DISCOVERED) == "true"

    @property
    def scrape(self) -> Mapping[str, Any]:
        """`spec.scrape`."""
        found: Mapping[str, Any] = self.spec.get("scrape") or {}
        return found

    @property
    def mode(self) -> str:
        """`spec.scrape.mode`."""
        return str(self.scrape.get("mode", "ServiceMonitor"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A cluster at one moment. `version` is that of this command line, `user` who asks; `asking_as` are flags for kubectl.

    `namespace` is the one that is asked for, empty for all; `agents` are PrometheusAgent objects, which scrape, and neither
    evaluate rules nor answer queries.
    """

    version: str
    now: datetime
    namespace: str = ""
    address: str = ""
    user: str = ""
    asking_as: str = ""
    server: Body | Unseen = UNASKED
    server_time: datetime | None = None
    crds: Mapping[str, Body | Unseen] = field(default_factory=dict)
    workloads: Bodies = ()
    operators: Sequence[Installed] = ()
    namespaces: Bodies = ()
    prometheuses: Bodies = ()
    agents: Bodies = ()
    rulers: Bodies = ()
    alertmanagers: Bodies = ()
    grafanas: Bodies = ()
    prometheus_pods: Bodies = ()
    reviews: Mapping[Access, bool | Unseen] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    capabilities: Capabilities = field(default_factory=Capabilities)
    workflows: Bodies = ()
    prometheus: Server = field(default_factory=Server)
    alertmanager: Server = field(default_factory=lambda: Server(name="Alertmanager"))
    workflow: Workflow | None = None

    @property
    def scrapers(self) -> Bodies:
        """The objects of Prometheus Operator that scrape; agents count where they can be seen."""
        if isinstance(self.prometheuses, Unseen):
            return self.prometheuses
        return [*self.prometheuses, *(() if isinstance(self.agents, Unseen) else self.agents)]

    def labels_of(self, namespace: str) -> Mapping[str, str] | None:
        """The labels of a namespace; None where they could not be seen."""
        if isinstance(self.namespaces, Unseen):
            return None
        for body in self.namespaces:
            if body["metadata"]["name"] == namespace:
                return body["metadata"].get("labels") or {}
        return None


def title(body: Body) -> str:
    """How a person names an object: `Prometheus monitoring/main`."""
    meta = body["metadata"]
    space = f"{meta['namespace']}/" if meta.get("namespace") else ""
    return f"{body.get('kind', 'object')} {space}{meta['name']}"


def where(body: Body) -> str:
    """The part of a kubectl command that names an object: `-n monitoring prometheus/main`."""
    meta = body["metadata"]
    space = f"-n {meta['namespace']} " if meta.get("namespace") else ""
    return f"{space}{str(body.get('kind', '')).lower()}/{meta['name']}"
