#!/usr/bin/env bash
# MyTSDB in a kind cluster on this machine. Every command may be repeated; what is there already is kept or brought up to date.
#
# usage: deploy/install.sh install      cluster, images, everything; ends when all pods are Ready, MyTSDB with its seed in it
#        deploy/install.sh status       pods, and what is not Ready
#        deploy/install.sh seed-logs    what the seed says, until it ends
#        deploy/install.sh port-forward Prometheus API 9090, Grafana 3000, OTLP 4317, GPUs 8081 on localhost until Ctrl-C
#        deploy/install.sh verify       asks for the seeded samples, the sample app's, the tenants', Grafana's dashboards
#        deploy/install.sh uninstall    deletes the cluster
#
# OVERLAY=seeded (default) | persistent   deploy/kind/overlays/…
# CLUSTER=mytsdb        name of the kind cluster
# VERSION=0.1.0         tag of the images
# IMAGE_ARCHIVE=FILE    an image of MyTSDB as docker-archive (scripts/check-image.sh writes one) instead of building it
# WAIT_SECONDS=600      how long to wait for Ready
# MYTSDB_URL, GRAFANA_URL   where `verify` asks: http://localhost:9090, http://localhost:3000
set -euo pipefail
cd "$(dirname "$0")/.."

overlay=${OVERLAY:-seeded}
cluster=${CLUSTER:-mytsdb}
version=${VERSION:-0.1.0}
wait_seconds=${WAIT_SECONDS:-600}
mytsdb_url=${MYTSDB_URL:-http://localhost:9090}
grafana_url=${GRAFANA_URL:-http://localhost:3000}
context=kind-$cluster
tenants=(tenant1 tenant2)
# Ports of this machine that deploy/kind/cluster.yaml maps.
host_ports="9090 3000 4317 4318"

fail() {
  echo "install: $*" >&2
  exit 1
}

say() {
  echo "install: $*"
}

need() {
  local program hint
  for program in "$@"; do
    case $program in
      docker) hint="https://docs.docker.com/engine/install" ;;
      kind) hint="https://kind.sigs.k8s.io/docs/user/quick-start/#installation (0.33 or newer)" ;;
      kubectl) hint="https://kubernetes.io/docs/tasks/tools" ;;
      *) hint="your system's packages" ;;
    esac
    command -v "$program" >/dev/null || fail "$program is missing: $hint"
  done
}

need_docker() {
  need docker
  docker info >/dev/null 2>&1 || fail "docker does not answer: start it, and see that you may use it (docker info)"
}

kube() {
  kubectl --context "$context" "$@"
}

has_cluster() {
  kind get clusters 2>/dev/null | grep -qx "$cluster"
}

need_cluster() {
  need kind kubectl
  has_cluster || fail "there is no cluster $cluster: run '$0 install' first"
}

port_is_taken() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

make_cluster() {
  is_new=
  if has_cluster; then
    say "the cluster $cluster is there already"
    return 0
  fi
  local port
  for port in $host_ports; do
    ! port_is_taken "$port" ||
      fail "port $port is taken by another program (make run?): stop it; deploy/kind/cluster.yaml maps it into the cluster"
  done
  kind create cluster --name "$cluster" --config deploy/kind/cluster.yaml --wait 120s
  is_new=1
}

load_images() {
  local part
  if [ -n "${IMAGE_ARCHIVE:-}" ]; then
    [ -e "$IMAGE_ARCHIVE" ] || fail "IMAGE_ARCHIVE=$IMAGE_ARCHIVE is not there"
    kind load image-archive "$IMAGE_ARCHIVE" --name "$cluster"
  else
    say "building mytsdb:$version (the first time takes a quarter of an hour)"
    docker build --tag "mytsdb:$version" --build-arg "VERSION=$version" .
    kind load docker-image "mytsdb:$version" --name "$cluster"
  fi
  make -C deploy/sample-app build-local "TAG=$version"
  for part in sender receiver loadgen; do
    kind load docker-image "demo-app/$part:$version" --name "$cluster"
  done
}

# Waits for every workload, in the order in which they need each other.
wait_ready() {
  local deadline=$((SECONDS + wait_seconds)) workload namespace
  for workload in mytsdb/statefulset/mytsdb mytsdb/statefulset/otel-collector mytsdb/deployment/grafana mytsdb/deployment/load \
    mytsdb/daemonset/gpu-replay {tenant1,tenant2}-demo/deployment/{receiver,sender,loadgen}; do
    namespace=${workload%%/*}
    kube --namespace "$namespace" rollout status "${workload#*/}" --timeout "$((deadline > SECONDS ? deadline - SECONDS : 1))s" ||
      fail "${workload#*/} in $namespace is not ready after $wait_seconds s: '$0 status' shows more (docs/kubernetes.md, Troubleshooting)"
  done
}

install() {
  [ -d "deploy/kind/overlays/$overlay" ] || fail "OVERLAY=$overlay; allowed is seeded or persistent"
  need_docker
  need kind kubectl make
  make_cluster
  load_images
  # Server-side: dashboards are too large for the annotation of a client-side apply.
  kube apply --server-side --force-conflicts --kustomize "deploy/kind/overlays/$overlay"
  # The tag stays while the image changes: pods that run must start again to get it.
  [ -n "$is_new" ] || kube --namespace mytsdb rollout restart statefulset/mytsdb >/dev/null
  wait_ready
  say "ready: Prometheus API $mytsdb_url, Grafana $grafana_url, OTLP localhost:4317; '$0 verify' asks for the data"
}

status() {
  need_cluster
  local namespace
  for namespace in mytsdb "${tenants[@]/%/-demo}"; do
    kube --namespace "$namespace" get pods,pvc
  done
  kube get events --all-namespaces --field-selector type=Warning --sort-by .lastTimestamp 2>/dev/null | tail -n 10
}

seed_logs() {
  need_cluster
  kube --namespace mytsdb logs statefulset/mytsdb --container seed --follow
}

port_forward() {
  need_cluster
  local pids=()
  # shellcheck disable=SC2317
  stop() {
    trap - EXIT INT TERM
    [ "${#pids[@]}" = 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait
  }
  trap stop EXIT INT TERM
  # Where the cluster's port mappings are in place already, only what has none is left to do.
  port_is_taken 9090 || { kube --namespace mytsdb port-forward service/mytsdb 9090:9090 & pids+=($!); }
  port_is_taken 3000 || { kube --namespace mytsdb port-forward service/grafana 3000:3000 & pids+=($!); }
  port_is_taken 4317 || { kube --namespace mytsdb port-forward service/otel-collector 4317:4317 4318:4318 & pids+=($!); }
  kube --namespace mytsdb port-forward service/mytsdb 8081:8081 & pids+=($!)
  wait
}

# The first value of an instant query; empty if there is none.
ask() {
  curl -sS --fail-with-body --max-time 30 ${2:+--header "X-Scope-OrgID: $2"} "$mytsdb_url/api/v1/query" --data-urlencode "query=$1" |
    sed -n 's/.*"value":\[[^,]*,"\([^"]*\)"\].*/\1/p'
}

checks=0
failed=0
# expect WHAT MINIMUM QUERY [TENANT]
expect() {
  local found
  checks=$((checks + 1))
  found=$(ask "$3" "${4:-}") || found=
  if [ -n "$found" ] && awk -v found="$found" -v least="$2" 'BEGIN { exit !(found + 0 >= least) }'; then
    echo "ok      $1: $found"
  else
    failed=$((failed + 1))
    echo "FAILED  $1: ${found:-nothing}, expected at least $2 ($3)"
  fi
}

verify() {
  need curl awk
  curl -sSf --max-time 10 "$mytsdb_url/-/ready" >/dev/null ||
    fail "$mytsdb_url does not answer: is it installed ('$0 status'), is the port mapped ('$0 port-forward')?"
  if [ "$overlay" = seeded ]; then
    expect "seeded containers (Arrow Flight)" 40 'count(count by (pod, container) (container_cpu_usage_seconds_total))'
    expect "seeded samples of one metric in a day" 200000 'sum(count_over_time(container_memory_working_set_bytes[25h]))'
    expect "CPU by pod, a range as dashboards ask" 20 'count(sum by (pod, namespace) (rate(container_cpu_usage_seconds_total[5m])))'
    expect "p99 latency from histograms" 1 \
      'count(histogram_quantile(0.99, sum by (le, service) (rate(http_request_duration_seconds_bucket[5m]))))'
  fi
  local tenant
  for tenant in "${tenants[@]}"; do
    expect "requests of the sample app of $tenant (OTLP through the Collector)" 1 'sum(http_requests_total)' "$tenant"
    expect "spans of $tenant" 1 'sum(increase(traces_span_metrics_calls_total[5m]))' "$tenant"
    expect "log records of $tenant" 1 'sum(increase(log_record_count_total[5m]))' "$tenant"
  done
  expect "the same by remote write" 1 'sum(http_requests_total)' remote-write
  expect "GPUs" 8 'count(DCGM_FI_DEV_GPU_TEMP)'
  expect "load" 1 'count({__name__=~".+"})' load
  expect "the server's own metrics (scraped by the Collector)" 1 'count(mytsdb_build_info)'
  checks=$((checks + 1))
  local dashboards
  dashboards=$(curl -sS --max-time 10 "$grafana_url/api/search?type=dash-db" | grep -o '"uid":' | wc -l) || dashboards=0
  if [ "$dashboards" -ge 5 ]; then
    echo "ok      dashboards in Grafana: $dashboards"
  else
    failed=$((failed + 1))
    echo "FAILED  dashboards in Grafana: $dashboards, expected 5"
  fi
  echo "verify: $((checks - failed)) of $checks checks passed"
  [ "$failed" = 0 ]
}

uninstall() {
  need kind
  if has_cluster; then
    kind delete cluster --name "$cluster"
  else
    say "there is no cluster $cluster: nothing to do"
  fi
}

case ${1:-} in
  install) install ;;
  status) status ;;
  seed-logs) seed_logs ;;
  port-forward) port_forward ;;
  verify) verify ;;
  uninstall) uninstall ;;
  *) fail "say install, status, seed-logs, port-forward, verify or uninstall (given: '${1:-}')" ;;
esac
