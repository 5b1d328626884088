"""Every check by name: what it looks at and what to do about it. Data; `docs/doctor-checks.md` is made from it."""

from __future__ import annotations

from dataclasses import dataclass

CLUSTER, OPERATOR, PROMETHEUS, GRAFANA, WORKFLOW, PODS, SCRAPING, RULES, ALERTS = (
    "Cluster",
    "Operator",
    "Prometheus and Alertmanager",
    "Grafana",
    "Workflow",
    "Pods",
    "Scraping",
    "Rules and metrics",
    "Alerts",
)
GROUPS = (CLUSTER, OPERATOR, PROMETHEUS, GRAFANA, WORKFLOW, PODS, SCRAPING, RULES, ALERTS)


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its group, what it looks at, and what to do when it finds something."""

    name: str
    group: str
    looks: str
    remedy: str


CHECKS: tuple[Check, ...] = (
    Check("api-server", CLUSTER, "The API server answers, and is Kubernetes 1.29 or newer.", "Mend the kubeconfig, or upgrade the cluster."),
    Check("clock", CLUSTER, "The clocks of this machine, the API server and Prometheus agree within 30 s.", "Let every machine follow a time server (NTP); schedules, freshness and ages compare their clocks."),
    Check("crds", CLUSTER, "The CRDs of flowgauge.dev are there, established, and serve the version that this command line knows.", "`helm upgrade` with the chart of this version, or `kubectl apply --server-side -f crds/`."),
    Check("crd-fields", CLUSTER, "The CRDs have the fields that this version has, no fewer and no more.", "Upgrade the CRDs as above, or use the command line of the version that is installed."),
    Check("prometheus-operator", CLUSTER, "The kinds of Prometheus Operator are installed.", "Install Prometheus Operator; without it, rules are in ConfigMaps and Services carry prometheus.io annotations."),
    Check("grafana-operator", CLUSTER, "The kinds of grafana-operator are installed, where dashboards are to reach Grafana by it.", "Install grafana-operator, or `--set grafana.mode=ConfigMap`."),
    Check("own-rights", CLUSTER, "You may read what the doctor looks at.", "Ask for the right; what cannot be read is unknown, and no check takes it for fine."),
    Check("operator", OPERATOR, "There is one operator, and its replicas are ready.", "`kubectl describe` and `kubectl logs` of the Deployment."),
    Check("operator-version", OPERATOR, "Operator, command line and chart are of one version.", "`helm upgrade` with the chart of the version that you want."),
    Check("operator-single", OPERATOR, "No two operators serve the same namespace: they would undo each other's work.", "Remove one, or give each its `namespaces`."),
    Check("operator-lease", OPERATOR, "The Lease is held by a pod that lives, and was renewed lately.", "Look at the logs of the replicas."),
    Check("operator-flags", OPERATOR, "Its flags can be read, and it has a Prometheus to ask.", "`--set prometheus.url=…`; without, `Loaded` and `Healthy` stay Unknown."),
    Check("operator-namespaces", OPERATOR, "It serves the namespace of the workflow.", "`--set namespaces=…`, or none for all."),
    Check("operator-rights", OPERATOR, "Its ServiceAccount may do what the operator does, by SubjectAccessReviews.", "`helm upgrade` brings the RBAC of the chart back; see docs/operator.md#rbac."),
    Check("prometheus-object", PROMETHEUS, "There is a Prometheus object, and it is not paused.", "Make one, or take `paused` away."),
    Check("monitor-selector", PROMETHEUS, "A Prometheus object selects our ServiceMonitors (or PodMonitors), by labels and by namespace.", "`--set monitorLabels.KEY=VALUE`, or widen the selectors of the Prometheus object."),
    Check("rule-selector", PROMETHEUS, "A Prometheus object selects our PrometheusRules, by labels and by namespace.", "`--set ruleLabels.KEY=VALUE`, or widen the selectors of the Prometheus object."),
    Check("prometheus-limits", PROMETHEUS, "Which limits the Prometheus object enforces on every target.", "Raise them where a target is dropped for it."),
    Check("prometheus-rights", PROMETHEUS, "The ServiceAccount of Prometheus may list pods, Services and endpoints where the workflows are.", "Bind a ClusterRole with get, list and watch on them."),
    Check("prometheus-answers", PROMETHEUS, "Prometheus answers the doctor, and always the same one.", "`--prometheus URL`, with `kubectl port-forward` if need be."),
    Check("alertmanager-object", PROMETHEUS, "An Alertmanager object selects the AlertmanagerConfigs of workflows that notify.", "Set `alertmanagerConfigSelector` and `alertmanagerConfigNamespaceSelector`."),
    Check("alertmanager-answers", PROMETHEUS, "Prometheus knows an Alertmanager, and it answers the doctor.", "Set `alerting` in the Prometheus object; `--alertmanager URL` for the doctor."),
    Check("dashboard-sidecar", GRAFANA, "Grafana's sidecar looks for the label that our ConfigMaps carry, and into their namespaces.", "`--set grafana.dashboardLabel=KEY=VALUE`; let the sidecar watch all namespaces (`NAMESPACE=ALL`)."),
    Check("grafana-instances", GRAFANA, "GrafanaDashboards select a Grafana object.", "`--set grafana.instances=KEY=VALUE` as the Grafana object is labelled."),
    Check("dashboard-delivered", GRAFANA, "grafana-operator says that Grafana has the dashboard of the workflow.", "What it says of the GrafanaDashboard tells the way."),
    Check("workflows", WORKFLOW, "Which workflows are not Ready, where none was named.", "`flowgauge doctor NAMESPACE/NAME`."),
    Check("workflow", WORKFLOW, "The workflow is there, its spec makes sense, and the operator has seen this generation.", "The message names the field."),
    Check("profile", WORKFLOW, "Its profile is built in, or a WorkflowProfile that is accepted.", "Correct `spec.profile`, or apply the profile."),
    Check("conditions", WORKFLOW, "What the operator says in the conditions, with what each reason means.", "As the message says."),
    Check("selector", PODS, "`spec.selector` matches pods.", "Correct the labels; those that are nearest are shown."),
    Check("pods", PODS, "The pods run and are ready.", "`kubectl describe pod`, `kubectl logs`."),
    Check("port", PODS, "A container declares the port that is scraped, by name or number.", "Correct `spec.scrape.port`, or name the port in the pod."),
    Check("service", PODS, "The Service of the workflow has the pods as its endpoints.", "Its selector is `spec.selector`; its port is `spec.scrape.port`."),
    Check("monitor", SCRAPING, "The ServiceMonitor or PodMonitor is in place.", "The operator makes it; see its findings."),
    Check("targets", SCRAPING, "Prometheus has targets of the workflow, and they are up; else why not.", "By the cause: see [what a scrape can fail of](#what-a-scrape-can-fail-of)."),
    Check("network-policy", SCRAPING, "No NetworkPolicy keeps Prometheus from the pods. Read, not tried: who enforces them is the cluster's affair.", "Apply the policy that is printed."),
    Check("scraped-once", SCRAPING, "Each pod is scraped by one job.", "Remove the other monitor or annotation."),
    Check("labels", SCRAPING, "Series keep their owner labels: nothing of the program's own clashes, and pushed groups are scraped with honorLabels.", "`honorLabels: true` for the Pushgateway; no label `monitored_workflow` in the program."),
    Check("pushed", SCRAPING, "Mode Push: a group of the workflow is there, and not too old.", "Push with the grouping labels `namespace` and `monitored_workflow`."),
    Check("rules", RULES, "Prometheus has loaded the rules, all of them of this revision, and evaluates them without error.", "See `rule-selector`; a rejected object is in the log of prometheus-operator."),
    Check("families", RULES, "Every metric that the profile requires has series; else which names there are instead.", "Correct `spec.profile`, or the program's own vocabulary."),
    Check("history", RULES, "Prometheus keeps data for as long as the objectives look back, and has had the rules for so long.", "Raise `retention`, or shorten the window; young data fills up by itself, unless Prometheus loses it."),
    Check("firing", ALERTS, "Which alerts of the workflow fire.", "Follow their runbooks."),
    Check("delivered", ALERTS, "What fires is in Alertmanager; whether it is silenced or inhibited, and which receivers it has.", "See docs/notifications.md#when-nobody-is-notified."),
    Check("notifications", ALERTS, "Alertmanager's notifications do not fail.", "The log of Alertmanager says what the receiver answered."),
)  # fmt: skip
BY_NAME = {check.name: check for check in CHECKS}
