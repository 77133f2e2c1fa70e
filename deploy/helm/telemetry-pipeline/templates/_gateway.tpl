{{/* nginx.conf of the gateway. Nothing is written but to /tmp. The upstream is a Service: its address stays. */}}
{{- define "pipeline.gatewayConfig" -}}
{{- $gateway := .Values.apiGateway -}}
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  server_tokens off;
  client_body_temp_path /tmp/client_body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  client_max_body_size 1m;
  {{- if $gateway.cors.enabled }}
  map $http_origin $allowed_origin {
    default "";
    {{- range $gateway.cors.allowedOrigins }}
    {{- if eq . "*" }}
    "~.+" "*";
    {{- else }}
    {{ . | quote }} $http_origin;
    {{- end }}
    {{- end }}
  }
  {{- end }}
  upstream gateway {
    server {{ include "pipeline.gatewayUpstream" . }};
    keepalive 16;
  }
  server {
    listen {{ $gateway.port }};
    # The gateway's own health; whether the store is ready is the store's.
    location = /healthz { default_type text/plain; return 200 "OK\n"; }
    location / {
      {{- if $gateway.cors.enabled }}
      # The store has headers of its own, which would stand beside these.
      proxy_hide_header Access-Control-Allow-Origin;
      proxy_hide_header Access-Control-Allow-Methods;
      proxy_hide_header Access-Control-Allow-Headers;
      proxy_hide_header Vary;
      add_header Access-Control-Allow-Origin $allowed_origin always;
      add_header Access-Control-Allow-Methods {{ join ", " $gateway.cors.allowedMethods | quote }} always;
      add_header Access-Control-Allow-Headers "Content-Type, Authorization, X-Scope-OrgID" always;
      add_header Vary Origin always;
      if ($request_method = OPTIONS) { return 204; }
      {{- end }}
      proxy_pass http://gateway;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_read_timeout 130s;
    }
  }
}
{{- end }}
