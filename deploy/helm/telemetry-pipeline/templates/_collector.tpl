{{- define "pipeline.collectorConfig" -}}
extensions:
  health_check:
    endpoint: 0.0.0.0:13133
  {{- if .Values.collector.checkpointEnabled }}
  file_storage:
    directory: {{ include "pipeline.queueDirectory" . }}/queue
    create_directory: true
    timeout: 10s
    compaction:
      on_start: true
      on_rebound: true
      directory: {{ include "pipeline.queueDirectory" . }}/compaction
      cleanup_on_start: true
  {{- end }}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: 0.0.0.0:4317
      http:
        endpoint: 0.0.0.0:4318
processors:
  memory_limiter:
    check_interval: 1s
    limit_percentage: 75
    spike_limit_percentage: 20
  batch:
    timeout: 1s
    send_batch_size: 8192
    send_batch_max_size: 10000
exporters:
  otlp:
    endpoint: {{ include "pipeline.fullname" . }}-store:4317
    compression: gzip
    timeout: 10s
    tls:
      insecure: true
    retry_on_failure:
      enabled: true
      initial_interval: 1s
      max_interval: 30s
      max_elapsed_time: 0s
    sending_queue:
      enabled: true
      num_consumers: {{ .Values.collector.workers }}
      queue_size: 1000
      {{- if .Values.collector.checkpointEnabled }}
      storage: file_storage
      {{- end }}
service:
  extensions: [health_check{{ if .Values.collector.checkpointEnabled }}, file_storage{{ end }}]
  telemetry:
    metrics:
      readers:
        - pull:
            exporter:
              prometheus:
                host: 0.0.0.0
                port: 8888
  pipelines:
    metrics:
      receivers: [otlp]
      processors: [memory_limiter, batch]
      exporters: [otlp]
{{- end }}
