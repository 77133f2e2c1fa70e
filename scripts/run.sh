#!/usr/bin/env bash
# Builds the server, starts it with its data in ./data, seeds it once, and stays until Ctrl-C.
#
# SEED=auto (default: seed if the server is empty) | 1 (always) | 0 (never)
# HTTP_PORT=9090 ARROW_PORT=8815 OTLP_PORT=4317 OTLP_HTTP_PORT=4318 DATA_DIR=./data, other settings as MYTSDB_… variables
# SEED_DAYS, SEED_PRESET and the other variables of k8s-data-generator change what is seeded.
set -euo pipefail
cd "$(dirname "$0")/.."

http_port=${HTTP_PORT:-9090}
arrow_port=${ARROW_PORT:-8815}
otlp_port=${OTLP_PORT:-4317}
otlp_http_port=${OTLP_HTTP_PORT:-4318}
data_dir=${DATA_DIR:-./data}
seed=${SEED:-auto}
ready_seconds_max=120

fail() {
  echo "make run: $*" >&2
  exit 1
}

port_is_taken() {
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The body of a GET, without needing curl.
http_get() {
  exec 3<>"/dev/tcp/127.0.0.1/$http_port" || return 1
  printf 'GET %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
  cat <&3
  exec 3<&- 3>&-
}

case $seed in auto | 0 | 1) ;; *) fail "SEED=$seed; allowed is auto, 0 or 1" ;; esac
scripts/install-test-deps.sh build
for port in "$http_port" "$arrow_port" "$otlp_port" "$otlp_http_port"; do
  ! port_is_taken "$port" ||
    fail "port $port is taken by another program; stop it, or choose with HTTP_PORT, ARROW_PORT, OTLP_PORT, OTLP_HTTP_PORT"
done
${CARGO:-cargo} build --release --bin mytsdb --bin k8s-data-generator

mkdir -p "$data_dir"
addresses=$(mktemp -d)/addresses.json
server_pid=
stop() {
  trap - EXIT INT TERM
  if [ -n "$server_pid" ]; then
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" || true
  fi
  rm -r "$(dirname "$addresses")"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

target/release/mytsdb --http-port="$http_port" --arrow-port="$arrow_port" --address="0.0.0.0:$otlp_port" \
  --otlp-http-address="0.0.0.0:$otlp_http_port" \
  --data-dir="$data_dir" --addresses-file="$addresses" &
server_pid=$!

# The file appears when the server is ready.
deadline=$((SECONDS + ready_seconds_max))
while [ ! -e "$addresses" ]; do
  kill -0 "$server_pid" 2>/dev/null || fail "the server ended, see its messages above"
  [ "$SECONDS" -lt "$deadline" ] || fail "the server was not ready within $ready_seconds_max s"
  sleep 0.05
done

if [ "$seed" = auto ]; then
  # The names of the metrics of the seeded cluster; an empty list means that nothing was seeded yet.
  names=$(http_get '/api/v1/label/__name__/values?match%5B%5D=container_cpu_usage_seconds_total&limit=1')
  case $names in
    *container_cpu_usage_seconds_total*) seed=0 && echo "make run: the data in $data_dir are kept, not seeded again" ;;
    *) seed=1 ;;
  esac
fi
if [ "$seed" = 1 ]; then
  target/release/k8s-data-generator --endpoint "http://127.0.0.1:$arrow_port" \
    --http-endpoint "http://127.0.0.1:$http_port" || fail "seeding failed"
fi

cat <<TEXT

MyTSDB is running (pid $server_pid, data in $data_dir). Ctrl-C stops it.

  Prometheus API, remote write   http://localhost:$http_port
  Arrow Flight                   grpc://localhost:$arrow_port
  OTLP/gRPC                      localhost:$otlp_port
  OTLP/HTTP                      localhost:$otlp_http_port

  curl -s localhost:$http_port/api/v1/query --data-urlencode 'query=sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))'
  curl -s localhost:$http_port/api/v1/query --data-urlencode 'query=topk(3, sum by (pod) (container_memory_working_set_bytes))'
  curl -s 'localhost:$http_port/api/v1/label/namespace/values'
  curl -s localhost:$http_port/metrics | head

TEXT
wait "$server_pid" || fail "the server ended with status $?"
