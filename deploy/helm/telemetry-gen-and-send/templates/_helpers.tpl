{{- define "gen-and-send.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "gen-and-send.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "gen-and-send.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "gen-and-send.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "gen-and-send.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gen-and-send.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gen-and-send.labels" -}}
{{ include "gen-and-send.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: load
app.kubernetes.io/part-of: mytsdb
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "gen-and-send.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "gen-and-send.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "gen-and-send.image" -}}
{{- $repository := .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* The Secret with the key of the endpoint; empty if there is none. */}}
{{- define "gen-and-send.secretName" -}}
{{- if .Values.honeycomb.existingSecret }}
{{- .Values.honeycomb.existingSecret }}
{{- else if .Values.honeycomb.apiKey }}
{{- include "gen-and-send.fullname" . }}-key
{{- end }}
{{- end }}

{{/* sender.yaml: the values, and where the key is found. */}}
{{- define "gen-and-send.senderConfig" -}}
{{- $config := deepCopy .Values.sender.config -}}
{{- if include "gen-and-send.secretName" . -}}
{{- $_ := set $config.otlp "apiKeyFile" "/etc/load-key/api-key" -}}
{{- if and (contains "honeycomb.io" $config.otlp.endpoint) (not $config.otlp.apiKeyHeader) -}}
{{- $_ := set $config.otlp "apiKeyHeader" "x-honeycomb-team" -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* Whether the senders end by themselves. */}}
{{- define "gen-and-send.ends" -}}
{{- $sending := .Values.sender.config.sending -}}
{{- or (not (has (toString $sending.duration) (list "" "0" "0s"))) (gt (int $sending.multiplier) 0) -}}
{{- end }}
