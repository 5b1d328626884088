"""A whole `MonitoredWorkflow`, and how one is parsed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from flowgauge_operator.constraint import Model, Rule, matches
from flowgauge_operator.model.alerts import Alerts
from flowgauge_operator.model.dashboard import Dashboard
from flowgauge_operator.model.fields import BY_NAME, EMPTY, NAMESPACE, OBJECT_NAME, Name, named_once
from flowgauge_operator.model.notify import Notify
from flowgauge_operator.model.objectives import Slo
from flowgauge_operator.model.schedule import Maintenance, Schedule
from flowgauge_operator.model.scrape import Scrape, Selector


class Spec(Model):
    """What is monitored and how."""

    RULES = (
        Rule(
            "self.scrape.mode in ['AnnotatedPods', 'Push', 'None'] || has(self.selector)",
            "spec.selector is needed unless scrape.mode is AnnotatedPods, Push or None; say which pods belong to the workflow",
            lambda spec: (
                spec.scrape.mode in ("AnnotatedPods", "Push", "None") or spec.selector is not None
            ),
        ),
    )

    profile: Name = Field(
        "workflow",
        description="Vocabulary of the metrics: the name of a built-in profile or of a WorkflowProfile.",
    )
    suspend: bool = Field(
        False, description="Stop alerting and spending budget; scraping and the dashboard stay."
    )
    selector: Selector | None = Field(
        None, description="Pods of the workflow, in its own namespace."
    )
    scrape: Scrape = Field(
        default_factory=Scrape,
        json_schema_extra=EMPTY,
        description="How the metrics reach Prometheus.",
    )
    schedule: Schedule | None = Field(
        None, description="When runs are expected, so that silence is not taken for success."
    )
    maintenance: Annotated[
        list[Maintenance],
        Field(max_length=8, json_schema_extra=BY_NAME),
        AfterValidator(named_once),
    ] = Field(
        default_factory=list,
        description="Times in which nothing alerts and no budget is spent, at most 8.",
    )
    slos: Annotated[
        list[Slo], Field(max_length=16, json_schema_extra=BY_NAME), AfterValidator(named_once)
    ] = Field(default_factory=list, description="Service level objectives, at most 16.")
    alerts: Alerts = Field(
        default_factory=Alerts,
        json_schema_extra=EMPTY,
        description="Which alerts there are and how they behave.",
    )
    dashboard: Dashboard = Field(
        default_factory=Dashboard,
        json_schema_extra=EMPTY,
        description="Where the dashboard goes and what is on it.",
    )
    notify: Notify | None = Field(
        None,
        description="Who is told of alerts: an AlertmanagerConfig. Default: Alertmanager's own routes alone.",
    )


class Workflow(Model):
    """A parsed `MonitoredWorkflow`: identity and spec."""

    namespace: str
    name: str
    uid: str = ""
    generation: int = 0
    spec: Spec


class SpecError(ValueError):
    """A spec that cannot be used: the field, what is wrong with it, and the remedy.

    `faults` are all that were found in the spec, this one first.
    """

    def __init__(
        self,
        path: str,
        message: str,
        reason: str = "InvalidSpec",
        others: Sequence[SpecError] = (),
    ) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message
        self.reason = reason
        self.faults = (self, *others)


def parse(body: dict[str, Any], *, default_namespace: str = "default") -> Workflow:
    """The workflow in a decoded `MonitoredWorkflow` object.

    Raises:
        SpecError: the object does not fit the schema; the messages name each field at fault and the remedy.
    """
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise SpecError("metadata", "must be a mapping with name and namespace")
    name = metadata.get("name", "")
    if not isinstance(name, str) or not 0 < len(name) <= 63 or not matches(OBJECT_NAME, name):
        message = "must be a valid object name of at most 63 characters: it becomes a label value"
        raise SpecError("metadata.name", f"{message}{_hint(metadata, 'name')}")
    namespace = metadata.get("namespace") or default_namespace
    if not isinstance(namespace, str) or not matches(NAMESPACE, namespace):
        message = "must be the name of a namespace: lower-case letters, digits and dashes"
        raise SpecError("metadata.namespace", f"{message}{_hint(metadata, 'namespace')}")
    given = body.get("spec")
    try:
        spec = Spec.model_validate({} if given is None else given)
    except ValidationError as error:
        first, *others = (
            (_dotted(("spec", *fault["loc"])), _message(fault))
            for fault in error.errors(include_url=False)
        )
        raise SpecError(*first, others=[SpecError(*other) for other in others]) from error
    return Workflow(
        namespace=namespace,
        name=name,
        # Written by the API server; a file may say anything.
        uid=uid if isinstance(uid := metadata.get("uid"), str) else "",
        generation=given if isinstance(given := metadata.get("generation"), int) else 0,
        spec=spec,
    )


def _hint(metadata: Mapping[str, Any], field: str) -> str:
    """What probably went wrong with a name; YAML makes numbers and truths of some."""
    value = metadata.get(field)
    if value is not None and not isinstance(value, str):
        return f"; {value!r} is no text, put it in quotes"
    if not value and "generateName" in metadata:
        return "; generateName alone gives none before the object is there"
    return ""


def _message(error: Mapping[str, Any]) -> str:
    text = str(error["msg"])
    if error["type"] == "value_error":
        return text.removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return "is no field of this resource; correct its name or remove it"
    given = repr(error["input"])
    return f"{text[0].lower()}{text[1:]}, not {given if len(given) < 80 else given[:80] + '…'}"


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
