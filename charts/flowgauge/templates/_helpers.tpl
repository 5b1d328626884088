{{- define "flowgauge.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "flowgauge.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "flowgauge.name" .) -}}
{{- end }}

{{- define "flowgauge.selector" -}}
app.kubernetes.io/name: flowgauge-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "flowgauge.labels" -}}
{{ include "flowgauge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "flowgauge.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end -}}
{{- join "," $pairs -}}
{{- end }}

{{- /* YAML takes an unquoted off for false. */ -}}
{{- define "flowgauge.discovery" -}}
{{- toString .Values.discovery.mode | replace "false" "off" -}}
{{- end }}

{{- /* What the operator may do with objects; the same rules for all namespaces or for the chosen ones. */ -}}
{{- define "flowgauge.rules" -}}
- apiGroups: [flowgauge.dev]
  resources: [monitoredworkflows]
  verbs: [get, list, watch]
- apiGroups: [flowgauge.dev]
  resources: [monitoredworkflows/status]
  verbs: [patch]
{{- if ne (include "flowgauge.discovery" .) "off" }}
- apiGroups: [flowgauge.dev]
  resources: [monitoredworkflows]
  verbs: [create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
{{- end }}
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
{{- if .Values.rbac.alertmanagerConfigs }}
- apiGroups: [monitoring.coreos.com]
  resources: [alertmanagerconfigs]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.rbac.grafanaDashboards }}
- apiGroups: [grafana.integreatly.org]
  resources: [grafanadashboards]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
