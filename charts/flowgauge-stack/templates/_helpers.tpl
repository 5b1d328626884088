{{- /* At most 38 characters: the StatefulSet alertmanager-NAME has its revision in a label of 63. A Service has no dots
and begins with a letter. */ -}}
{{- define "stack.name" -}}
{{- $name := .Values.fullnameOverride | default (.Release.Name | replace "." "-") -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "r%s" $name }}{{ end -}}
{{- $name | trunc 38 | trimAll "-" -}}
{{- end }}

{{- /* Labels that select: a dict with root and part. */ -}}
{{- define "stack.selector" -}}
app.kubernetes.io/name: {{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/part-of: flowgauge-stack
{{- end }}

{{- define "stack.labels" -}}
{{ include "stack.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{- define "stack.image" -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository .tag }}
{{- end -}}
{{- end }}

{{- /* What Pod Security "restricted" asks of every container, and a read-only root file system. */ -}}
{{- define "stack.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* The same of every pod: a dict with user, and group for its volumes. */ -}}
{{- define "stack.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "stack.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* Labels of a monitor or rule. By those of the values Prometheus selects, so they win, but for the one that helm needs. */ -}}
{{- define "stack.monitorLabels" -}}
{{- $chosen := omit (.root.Values.monitorLabels | default dict) "app.kubernetes.io/managed-by" -}}
{{- merge $chosen (include "stack.labels" . | fromYaml) | toYaml -}}
{{- end }}

{{- /* What a PersistentVolumeClaim asks for: values of persistence. */ -}}
{{- define "stack.claim" -}}
accessModes: {{ toJson .accessModes }}
{{- with .storageClass }}
storageClassName: {{ ternary "" . (eq . "-") | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end }}

{{- /* The URL of a part for people: a dict with the values of the part; empty without one. */ -}}
{{- define "stack.externalUrl" -}}
{{- $part := . -}}
{{- if $part.externalUrl -}}
{{ $part.externalUrl }}
{{- else if and $part.ingress.enabled $part.ingress.hosts -}}
{{ printf "%s://%s%s" (ternary "https" "http" (not (empty $part.ingress.tls))) (first $part.ingress.hosts) (trimSuffix "/" $part.ingress.path) }}
{{- end -}}
{{- end }}

{{- define "stack.prometheusUrl" -}}
{{- .Values.grafana.prometheusUrl | default (printf "http://%s-prometheus.%s:9090" (include "stack.name" .) .Release.Namespace) -}}
{{- end }}

{{- define "stack.alertmanagerUrl" -}}
{{- if .Values.grafana.alertmanagerUrl -}}
{{ .Values.grafana.alertmanagerUrl }}
{{- else if .Values.alertmanager.enabled -}}
{{ printf "http://%s-alertmanager.%s:9093" (include "stack.name" .) .Release.Namespace }}
{{- end -}}
{{- end }}

{{- define "stack.grafanaSecret" -}}
{{- .Values.grafana.admin.existingSecret | default (printf "%s-grafana-admin" (include "stack.name" .)) -}}
{{- end }}

{{- define "stack.ingress" -}}
{{- $name := printf "%s-%s" (include "stack.name" .root) .part }}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $name | quote }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels: {{- include "stack.labels" (dict "root" .root "part" .part) | nindent 4 }}
  {{- with .ingress.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  rules:
  {{- range .ingress.hosts }}
  - host: {{ . | quote }}
    http:
      paths:
      - path: {{ $.ingress.path }}
        pathType: Prefix
        backend:
          service:
            name: {{ $name | quote }}
            port: {name: {{ $.port | quote }}}
  {{- end }}
  {{- with .ingress.tls }}
  tls: {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* A ServiceAccount: a dict with root, part and whether the token is mounted where nothing else says it. */ -}}
{{- define "stack.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "stack.name" .root }}-{{ .part }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels: {{- include "stack.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{- /* Binds a ClusterRole to the account of the same name: a dict with root and part. */ -}}
{{- define "stack.clusterBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ include "stack.clusterName" . | quote }}
  labels: {{- include "stack.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ include "stack.clusterName" . | quote }}
subjects:
- kind: ServiceAccount
  name: {{ include "stack.name" .root }}-{{ .part }}
  namespace: {{ .root.Release.Namespace | quote }}
{{- end }}

{{- /* The name of what is not in a namespace: two releases of one name may be in two namespaces, and no name has
a colon. */ -}}
{{- define "stack.clusterName" -}}
{{ .root.Release.Namespace }}:{{ include "stack.name" .root }}-{{ .part }}
{{- end }}

{{- /* A ServiceMonitor of a part: a dict with root, part, selector (labels), port and honorLabels. */ -}}
{{- define "stack.monitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "stack.name" .root }}-{{ .part }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels: {{- include "stack.monitorLabels" . | nindent 4 }}
spec:
  selector:
    matchLabels: {{- include "stack.selector" . | nindent 6 }}
  endpoints:
  {{- range .ports }}
  - port: {{ . }}
    honorLabels: {{ $.honorLabels | default false }}
  {{- end }}
{{- end }}

{{- define "stack.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "stack.name" .root }}-{{ .part }}
  namespace: {{ .root.Release.Namespace | quote }}
  labels: {{- include "stack.labels" . | nindent 4 }}
spec:
  selector: {{- .selector | default (include "stack.selector" .) | nindent 4 }}
  ports:
  {{- range $name, $port := .ports }}
  - {name: {{ $name | quote }}, port: {{ $port }}, targetPort: {{ $name }}}
  {{- end }}
{{- end }}
