"""The `MonitoredWorkflow` resource as typed models: the source of the CRD and of every parse. Pure.

Constraints that a schema or CEL can state stand here, so that the API server and the command line refuse bad input with
the same words. What needs a profile, PromQL or Prometheus is checked in `render`.
"""

from flowgauge_operator.model.alerts import ExtraAlert, Override
from flowgauge_operator.model.fields import NAME, RESERVED_LABELS, Severity
from flowgauge_operator.model.notify import Email, Notify, Opsgenie, Receiver, Slack
from flowgauge_operator.model.objectives import BurnAlert, Custom, Freshness, Slo
from flowgauge_operator.model.schedule import Maintenance, Schedule
from flowgauge_operator.model.scrape import Scrape, SecretKey, Selector
from flowgauge_operator.model.workflow import Spec, SpecError, Workflow, parse

__all__ = [
    "NAME",
    "RESERVED_LABELS",
    "BurnAlert",
    "Custom",
    "Email",
    "ExtraAlert",
    "Freshness",
    "Maintenance",
    "Notify",
    "Opsgenie",
    "Override",
    "Receiver",
    "Schedule",
    "Scrape",
    "SecretKey",
    "Selector",
    "Severity",
    "Slack",
    "Slo",
    "Spec",
    "SpecError",
    "Workflow",
    "parse",
]
