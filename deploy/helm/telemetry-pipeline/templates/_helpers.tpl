{{- define "pipeline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Names are RELEASE-streamer, RELEASE-collector, RELEASE-store, RELEASE-api-gateway. */}}
{{- define "pipeline.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Labels of a component: (dict "root" . "component" "streamer") */}}
{{- define "pipeline.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pipeline.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pipeline.labels" -}}
{{ include "pipeline.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: mytsdb
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "pipeline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "pipeline.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* (dict "root" . "image" .Values.collector.image) */}}
{{- define "pipeline.image" -}}
{{- $image := mergeOverwrite (dict "repository" .root.Values.image.repository "tag" (default .root.Chart.AppVersion .root.Values.image.tag)) .image -}}
{{ $image.repository }}:{{ $image.tag }}
{{- end }}

{{/* Contexts of the chart, with those of a component over them: (dict "root" . "of" .Values.streamer) */}}
{{- define "pipeline.podSecurityContext" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.podSecurityContext) .of.podSecurityContext) }}
{{- end }}

{{- define "pipeline.securityContext" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.securityContext) .of.securityContext) }}
{{- end }}

{{/* What all pods have but for the containers: (dict "root" . "of" .Values.streamer) */}}
{{- define "pipeline.podSpec" -}}
serviceAccountName: {{ include "pipeline.serviceAccountName" .root }}
automountServiceAccountToken: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "pipeline.podSecurityContext" . | nindent 2 }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "pipeline.streamerEndpoint" -}}
{{- if .Values.streamer.endpoint }}
{{- .Values.streamer.endpoint }}
{{- else if .Values.collector.enabled }}
{{- printf "http://%s-collector:4317" (include "pipeline.fullname" .) }}
{{- else }}
{{- "http://mytsdb.mytsdb.svc.cluster.local:4317" }}
{{- end }}
{{- end }}

{{- define "pipeline.gatewayUpstream" -}}
{{- if .Values.apiGateway.upstream }}
{{- .Values.apiGateway.upstream }}
{{- else if .Values.collector.enabled }}
{{- printf "%s-store.%s.svc.cluster.local:8081" (include "pipeline.fullname" .) .Release.Namespace }}
{{- else }}
{{- "mytsdb.mytsdb.svc.cluster.local:8081" }}
{{- end }}
{{- end }}

{{/* The collector's autoscaling, which may stand under mq as well. */}}
{{- define "pipeline.collectorAutoscaling" -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.collector.autoscaling) .Values.mq.autoscaling) }}
{{- end }}

{{- define "pipeline.hpa" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "pipeline.fullname" .root }}-{{ .component }}
  labels:
    {{- include "pipeline.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: {{ .kind }}, name: {{ include "pipeline.fullname" .root }}-{{ .component }}}
  {{- if gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas) }}
  {{- fail (printf "%s.autoscaling: minReplicas %d is above maxReplicas %d" .component (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) }}
  {{- end }}
  minReplicas: {{ .autoscaling.minReplicas }}
  maxReplicas: {{ .autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: {type: Utilization, averageUtilization: {{ .autoscaling.targetCPUUtilizationPercentage }}}
{{- end }}

{{/* One pod stays while a node is drained; only where there are several. */}}
{{- define "pipeline.pdb" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "pipeline.fullname" .root }}-{{ .component }}
  labels:
    {{- include "pipeline.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "pipeline.selectorLabels" . | nindent 6 }}
{{- end }}

{{/* The queue's directory, which may stand under mq.persistence as well. */}}
{{- define "pipeline.queueDirectory" -}}
{{- .Values.mq.persistence.dir | default .Values.mq.dir | trimSuffix "/" }}
{{- end }}
