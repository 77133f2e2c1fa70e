{{- define "demo-app.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* (dict "root" . "component" "sender"). The label `app` is for selectors such as `-l app=sender`. */}}
{{- define "demo-app.selectorLabels" -}}
app: {{ .component }}
app.kubernetes.io/name: {{ include "demo-app.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "demo-app.labels" -}}
{{ include "demo-app.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mytsdb
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "demo-app.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default .Release.Name .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Names of Services are fixed: one release a namespace. (dict "root" . "component" "sender") */}}
{{- define "demo-app.image" -}}
{{- $image := (index .root.Values .component).image -}}
{{- $repository := $image.repository -}}
{{- if .root.Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .root.Values.global.imageRegistry) $repository -}}
{{- end -}}
{{ $repository }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- end }}

{{- define "demo-app.tenant" -}}
{{- default .Release.Namespace .Values.tenantId }}
{{- end }}

{{/* Where telemetry goes, as variables of the app. */}}
{{- define "demo-app.otlpEnv" -}}
{{- if .Values.global.otlpEndpoint -}}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .Values.global.otlpEndpoint | quote }}}
{{- else if .Values.global.useNodeLocalEndpoint -}}
- name: NODE_IP
  valueFrom:
    fieldRef: {fieldPath: status.hostIP}
- {name: OTLP_PORT, value: {{ .Values.global.otlpPort | quote }}}
{{- else -}}
{{- fail "global.otlpEndpoint is needed where global.useNodeLocalEndpoint is false" }}
{{- end }}
{{- end }}

{{/* Variables of a component's env, but for those that are empty. */}}
{{- define "demo-app.env" -}}
{{- range $name, $value := . }}
{{- if ne (toString $value) "" }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* What all pods have but for the containers. (dict "root" . "component" "sender") */}}
{{- define "demo-app.podSpec" -}}
serviceAccountName: {{ include "demo-app.serviceAccountName" .root }}
automountServiceAccountToken: false
{{- with concat .root.Values.global.imagePullSecrets (index .root.Values .component).image.pullSecrets | uniq }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 32Mi}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What all containers have but for arguments, variables and ports. (dict "root" . "component" "sender") */}}
{{- define "demo-app.container" -}}
{{- $values := index .root.Values .component -}}
name: {{ .component }}
image: {{ include "demo-app.image" . | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* Probes of whatever answers at a path. */}}
{{- define "demo-app.probes" -}}
startupProbe:
  httpGet: {path: {{ . }}, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: {{ . }}, port: http}
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet: {path: {{ . }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 2
{{- end }}

{{/* The Service, under its name and under the short one. (dict "root" . "component" "sender") */}}
{{- define "demo-app.services" -}}
{{- $port := (index .root.Values .component).service.port -}}
{{- range list (printf "%s-service" .component) .component }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ . }}
  labels:
    {{- include "demo-app.labels" $ | nindent 4 }}
spec:
  selector:
    {{- include "demo-app.selectorLabels" $ | nindent 4 }}
  ports:
    - {name: http, port: {{ $port }}, targetPort: http, appProtocol: http}
{{- end }}
{{- end }}
