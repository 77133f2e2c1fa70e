{{- define "mytsdb.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "mytsdb.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "mytsdb.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "mytsdb.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mytsdb.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mytsdb.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mytsdb.labels" -}}
{{ include "mytsdb.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: server
app.kubernetes.io/part-of: mytsdb
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "mytsdb.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mytsdb.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "mytsdb.image" -}}
{{- $repository := .Values.image.repository -}}
{{- if .Values.image.registry }}{{- $repository = printf "%s/%s" (trimSuffix "/" .Values.image.registry) $repository -}}{{- end }}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* How a probe asks: with TLS or accounts every path wants credentials, so the open port has to do. */}}
{{- define "mytsdb.probe" -}}
{{- if .root.Values.webConfig.existingSecret -}}
tcpSocket: {port: http}
{{- else -}}
httpGet: {path: {{ .path }}, port: http}
{{- end }}
{{- end }}

{{/* The server as a container; a sidecar among the init containers where there is a seed. */}}
{{- define "mytsdb.server" -}}
- name: mytsdb
  image: {{ include "mytsdb.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  {{- if .Values.seed.enabled }}
  restartPolicy: Always
  {{- end }}
  args:
    - --config=/etc/mytsdb/mytsdb.yaml
    - --http-port=9090
    - --arrow-port=8815
    - --address=0.0.0.0:4317
    - --otlp-http-address=0.0.0.0:4318
    {{- if .Values.gateway.enabled }}
    - --gateway-port=8081
    {{- end }}
    - --data-dir=/data
    {{- if .Values.limits }}
    - --limits-file=/etc/mytsdb/limits.yaml
    {{- end }}
    {{- if .Values.webConfig.existingSecret }}
    - --web-config=/etc/mytsdb-web/web.yaml
    {{- end }}
    {{- range .Values.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  {{- with .Values.extraEnv }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - {name: http, containerPort: 9090}
    - {name: otlp-grpc, containerPort: 4317}
    - {name: otlp-http, containerPort: 4318}
    - {name: flight, containerPort: 8815}
    {{- if .Values.gateway.enabled }}
    - {name: gateway, containerPort: 8081}
    {{- end }}
  startupProbe:
    {{ include "mytsdb.probe" (dict "root" . "path" "/-/ready") }}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: {{ .Values.startupFailureThreshold }}
  livenessProbe:
    {{ include "mytsdb.probe" (dict "root" . "path" "/-/healthy") }}
    periodSeconds: 10
    timeoutSeconds: 3
    failureThreshold: 6
  readinessProbe:
    {{ include "mytsdb.probe" (dict "root" . "path" "/-/ready") }}
    periodSeconds: 5
    timeoutSeconds: 2
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  volumeMounts:
    - {name: data, mountPath: /data}
    - {name: config, mountPath: /etc/mytsdb, readOnly: true}
    {{- if .Values.webConfig.existingSecret }}
    - {name: web, mountPath: /etc/mytsdb-web, readOnly: true}
    {{- end }}
{{- end }}

{{/* The seed once, or the seeded cluster from now on: (dict "root" . "command" "[…]" "days" 1) */}}
{{- define "mytsdb.generator" -}}
image: {{ include "mytsdb.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: {{ .command }}
env:
  - {name: SEED_PRESET, value: {{ .root.Values.seed.preset | quote }}}
  - {name: SEED_DAYS, value: {{ .days | quote }}}
  - {name: SEED_ENDPOINT, value: "http://127.0.0.1:8815"}
  - {name: SEED_HTTP_ENDPOINT, value: "http://127.0.0.1:9090"}
  {{- range $name, $value := .root.Values.seed.env }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
resources:
  {{- toYaml .root.Values.seed.resources | nindent 2 }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
{{- end }}
