{{- /* Of a release only, a name may have dots and begin with a digit: a Service may not. */ -}}
{{- define "flowgauge.name" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $release }}{{ $release = printf "r%s" $release }}{{ end -}}
{{- /* A chart around this one may call it otherwise. */ -}}
{{- $chart := .Chart.Name | lower | replace "_" "-" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimAll "-" -}}
{{- else if contains $chart $release -}}
{{- $release | trunc 50 | trimAll "-" -}}
{{- else -}}
{{- printf "%s-%s" ($release | trunc 40 | trimAll "-") $chart | trunc 50 | trimAll "-" -}}
{{- end -}}
{{- end }}

{{- /* The name of what is not in a namespace: two releases of one name may be in two namespaces, and no name has a colon. */ -}}
{{- define "flowgauge.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "flowgauge.name" .) -}}
{{- end }}

{{- define "flowgauge.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "flowgauge.name" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- define "flowgauge.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default "flowgauge-operator" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* A text as the value of a label. */ -}}
{{- define "flowgauge.label" -}}
{{- . | replace "+" "_" | trunc 63 | trimAll "-_." -}}
{{- end }}

{{- define "flowgauge.labels" -}}
{{- $own := fromYaml (include "flowgauge.selector" .) -}}
{{- $_ := set $own "app.kubernetes.io/version" (include "flowgauge.label" .Chart.AppVersion) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "flowgauge" -}}
{{- $_ := set $own "helm.sh/chart" (include "flowgauge.label" (printf "%s-%s" .Chart.Name .Chart.Version)) -}}
{{- toYaml $own -}}
{{- end }}

{{- /* `labels`, and `annotations` where there are any, of an object: a list of the context, further labels, annotations, and
labels by which Prometheus selects, which win over ours but for the one that helm needs. */ -}}
{{- define "flowgauge.metadata" -}}
{{- $values := (index . 0).Values -}}
{{- $labels := fromYaml (include "flowgauge.labels" (index . 0)) -}}
{{- $selected := dict -}}
{{- if gt (len .) 3 }}{{ $selected = omit (index . 3) "app.kubernetes.io/managed-by" }}{{ end -}}
{{- $labels = merge $selected $labels (index . 1 | default dict) ($values.commonLabels | default dict) -}}
{{- $annotations := merge dict (index . 2 | default dict) ($values.commonAnnotations | default dict) -}}
labels: {{- toYaml $labels | nindent 2 }}
{{- with $annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "flowgauge.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end -}}
{{- join "," $pairs -}}
{{- end }}

{{- define "flowgauge.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion | replace "+" "_") -}}
{{- end -}}
{{- end -}}
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

{{- /* Whether a kind of Prometheus Operator can be made: it is there, or whoever installs says that it will be. */ -}}
{{- define "flowgauge.hasServiceMonitor" -}}
{{- if and .Values.serviceMonitor.enabled (or .Values.serviceMonitor.force (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/ServiceMonitor")) }}yes{{ end -}}
{{- end }}
{{- /* Without a scrape of the operator, an alert would tell for ever that nobody answers. */ -}}
{{- define "flowgauge.hasPrometheusRule" -}}
{{- if and .Values.prometheusRule.enabled (or .Values.serviceMonitor.enabled .Values.prometheusRule.job) (or .Values.prometheusRule.force (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/PrometheusRule")) }}yes{{ end -}}
{{- end }}

{{- /* The namespace that `helm test` makes its workflow in: the operator must serve it. */ -}}
{{- define "flowgauge.testNamespace" -}}
{{- if or (not .Values.namespaces) (has .Release.Namespace .Values.namespaces) -}}
{{- .Release.Namespace -}}
{{- else -}}
{{- first .Values.namespaces -}}
{{- end -}}
{{- end }}

{{- /* Secrets are mounted by the kubelet; the operator itself may read none. */ -}}
{{- define "flowgauge.mounts" -}}
{{- if .Values.prometheus.bearerToken.secret }}
- {name: prometheus-token, mountPath: /var/run/flowgauge/token, readOnly: true}
{{- end }}
{{- if or .Values.prometheus.ca.configMap .Values.prometheus.ca.secret }}
- {name: prometheus-ca, mountPath: /var/run/flowgauge/ca, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "flowgauge.volumes" -}}
{{- with .Values.prometheus.bearerToken.secret }}
- name: prometheus-token
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- with .Values.prometheus.ca }}
{{- if .configMap }}
- name: prometheus-ca
  configMap: {name: {{ .configMap | quote }}}
{{- else if .secret }}
- name: prometheus-ca
  secret: {secretName: {{ .secret | quote }}}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
