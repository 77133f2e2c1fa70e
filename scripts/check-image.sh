#!/usr/bin/env bash
# Builds the image from the Dockerfile without a container daemon and without a registry of images, and tries it.
#
# usage: scripts/check-image.sh                  builds everything (ten minutes and more on two processors), then tries it
#        scripts/check-image.sh --prebuilt DIR   with a cargo that takes the programs from DIR, such as target/release: a minute
#
# Needs root on Debian with buildah and debootstrap (`apt-get install --no-install-recommends buildah debootstrap`), and a
# Rust toolchain. No image is pulled: the two base images are made here, under the names that the Dockerfile gives them, from
# Debian's packages and this machine's toolchain. What is tried: the programs run as user 10001 on a read-only root file system
# with a writable /data and nothing else; the server becomes ready, takes the health check, stores and answers; every tool tells
# its --help; labels, user, health check and size.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/.tools/image
release=bookworm
# Overlays share what layers have in common: with STORAGE_DRIVER=vfs, for file systems that have none, each is a copy (30 GB).
export STORAGE_DRIVER=${STORAGE_DRIVER:-overlay} BUILDAH_ISOLATION=chroot
store=(--root "$work/storage" --runroot "$work/run")

fail() {
  echo "check-image: $*" >&2
  exit 1
}

say() {
  echo "check-image: $*"
}

name_of() {
  sed -n "s/^ARG $1=//p" Dockerfile
}

tag=localhost/mytsdb:check
prebuilt=
case ${1:-} in
  '') ;;
  --prebuilt)
    prebuilt=${2:?"a folder is missing after --prebuilt"}
    tag=localhost/mytsdb:prebuilt
    ;;
  *) fail "unknown argument $1; allowed is --prebuilt DIR" ;;
esac
[ "$(id -u)" = 0 ] || fail "root is needed, to unpack Debian and to change the root directory"
for program in buildah debootstrap cargo rustc curl strip unshare; do
  command -v "$program" >/dev/null || fail "$program is missing"
done
mkdir -p "$work"

has_image() {
  buildah "${store[@]}" inspect --type image "$1" >/dev/null 2>&1
}

# An image of a folder.
commit_folder() {
  local container
  container=$(buildah "${store[@]}" from scratch)
  buildah "${store[@]}" add -q "$container" "$1" / >/dev/null
  buildah "${store[@]}" config --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah "${store[@]}" commit -q --rm "$container" "$2" >/dev/null
}

make_runtime_image() {
  ! has_image "$(name_of RUNTIME_IMAGE)" || return 0
  say "making $(name_of RUNTIME_IMAGE) from Debian's packages"
  if [ ! -e "$work/runtime/.complete" ]; then
    rm -rf "$work/runtime"
    debootstrap --variant=minbase "$release" "$work/runtime" >"$work/debootstrap.log" 2>&1 || fail "see $work/debootstrap.log"
    # What the slim images leave out as well.
    rm -rf "$work"/runtime/usr/share/{doc,man,info,locale} "$work"/runtime/var/cache/apt/archives/*.deb "$work"/runtime/var/lib/apt/lists/*
    cp -r /etc/apt/sources.list* "$work/runtime/etc/apt/"
    touch "$work/runtime/.complete"
  fi
  commit_folder "$work/runtime" "$(name_of RUNTIME_IMAGE)"
}

make_rust_image() {
  ! has_image "$(name_of RUST_IMAGE)" || return 0
  say "making $(name_of RUST_IMAGE) from Debian's packages and the toolchain of $(rustc --version)"
  local container toolchain
  toolchain=$(rustc --print sysroot)
  container=$(buildah "${store[@]}" from --pull=never "$(name_of RUNTIME_IMAGE)")
  buildah "${store[@]}" run "$container" -- sh -c 'apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc libc6-dev ca-certificates >/dev/null' ||
    fail "apt-get does not work in the container"
  buildah "${store[@]}" add -q "$container" "$toolchain/bin" /usr/local/bin >/dev/null
  buildah "${store[@]}" add -q "$container" "$toolchain/lib" /usr/local/lib >/dev/null
  if [ -e "${CARGO_HOME:-$HOME/.cargo}/config.toml" ]; then
    buildah "${store[@]}" add -q "$container" "${CARGO_HOME:-$HOME/.cargo}/config.toml" /usr/local/cargo/config.toml >/dev/null
  fi
  # Authorities that this machine trusts and Debian does not, as that of a proxy: for cargo, not for the image that is built.
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    buildah "${store[@]}" add -q "$container" /etc/ssl/certs/ca-certificates.crt /usr/local/cargo/authorities.crt >/dev/null
    buildah "${store[@]}" config --env CARGO_HTTP_CAINFO=/usr/local/cargo/authorities.crt "$container"
  fi
  buildah "${store[@]}" config --env CARGO_HOME=/usr/local/cargo "$container"
  buildah "${store[@]}" commit -q --rm "$container" "$(name_of RUST_IMAGE)" >/dev/null
}

tools=$(for source in tools/src/bin/*.rs; do basename "$source" .rs; done)

# The same builder with a cargo that compiles nothing, but looks whether all is there that one would need.
make_prebuilt_builder() {
  local container program
  container=$(buildah "${store[@]}" from --pull=never "$(name_of RUST_IMAGE)")
  cat >"$work/cargo" <<'CARGO'
#!/bin/sh
set -eu
[ "$*" = "build --release --locked --workspace --lib --bins" ]
[ -s Cargo.lock ] && [ -e src/lib.rs ] && [ -e src/main.rs ] && [ -e storage/src/lib.rs ] && [ -e promql/src/lib.rs ] && [ -e tools/src/lib.rs ]
mkdir -p target/release/deps
: >target/release/mytsdb.d
# Only what has a source, as with cargo: the dependencies alone give the server's empty program.
for source in src/main.rs tools/src/bin/*.rs; do
  [ -e "$source" ] || continue
  name=$(basename "$source" .rs)
  [ "$name" != main ] || name=mytsdb
  cp "/prebuilt/$name" target/release/
done
CARGO
  chmod +x "$work/cargo"
  buildah "${store[@]}" copy -q "$container" "$work/cargo" /usr/local/bin/cargo >/dev/null
  for program in mytsdb $tools; do
    [ -x "$prebuilt/$program" ] || fail "there is no program $program in $prebuilt"
    strip -o "$work/stripped" "$(readlink -f "$prebuilt/$program")"
    buildah "${store[@]}" copy -q "$container" "$work/stripped" "/prebuilt/$program" >/dev/null
    rm "$work/stripped"
  done
  buildah "${store[@]}" commit -q --rm "$container" localhost/prebuilt-builder >/dev/null
}

make_runtime_image
make_rust_image
arguments=()
if [ -n "$prebuilt" ]; then
  make_prebuilt_builder
  arguments=(--build-arg RUST_IMAGE=localhost/prebuilt-builder)
fi
say "building $tag"
started=$SECONDS
# The format of Docker: OCI's has no health check. Layers are kept: what did not change is not compiled again.
buildah "${store[@]}" bud --layers --pull=never --format docker "${arguments[@]}" --build-arg "REVISION=$(git rev-parse HEAD)" --tag "$tag" .
say "built in $((SECONDS - started)) s"

container=$(buildah "${store[@]}" from --pull=never "$tag")
root=$(buildah "${store[@]}" mount "$container")
box=$(mktemp -d)
cleanup() {
  [ -z "${server_pid:-}" ] || kill "$server_pid" 2>/dev/null || true
  [ -z "${server_pid:-}" ] || wait "$server_pid" 2>/dev/null || true
  buildah "${store[@]}" umount "$container" >/dev/null
  buildah "${store[@]}" rm "$container" >/dev/null
  rmdir "$box"
}
trap cleanup EXIT

inspected=$(buildah "${store[@]}" inspect --type image "$tag")
for wanted in '"User": "10001:10001"' '"org.opencontainers.image.title": "MyTSDB"' '"StopSignal": "SIGTERM"' '"Healthcheck":' '"mytsdb",'; do
  grep -qF "$wanted" <<<"$inspected" || fail "the image's configuration lacks $wanted"
done

# Becomes a program of the image as a container would run it: own mounts, read-only root, /data in memory, no other user than
# 10001. It keeps the process id of whoever calls it, so that it can be ended by that.
become_in_image() {
  # shellcheck disable=SC2016
  exec unshare --mount --propagation private sh -euc '
    root=$1 box=$2
    shift 2
    mount --bind "$root" "$box"
    mount -t tmpfs -o mode=0755,uid=10001,gid=10001 tmpfs "$box/data"
    mount -t proc proc "$box/proc"
    mount --rbind /dev "$box/dev"
    mount -o remount,ro,bind "$box"
    exec chroot --userspec=10001:10001 "$box" env -i PATH=/usr/local/bin:/usr/bin:/bin MYTSDB_DATA_DIR=/data "$@"
  ' sh "$root" "$box" "$@"
}

in_image() {
  (become_in_image "$@")
}

# shellcheck disable=SC2016
in_image sh -c 'test "$(id -u)" = 10001 && ! touch /root-is-writable 2>/dev/null && touch /data/writable' ||
  fail "the image does not run as 10001 on a read-only root with a writable /data"

for program in mytsdb $tools; do
  in_image "$program" --help >/dev/null || fail "$program --help fails"
  say "$program --help works ($(stat -c %s "$root/usr/local/bin/$program") bytes)"
done

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
port=$(free_port)
become_in_image mytsdb --http-host=127.0.0.1 --http-port="$port" --arrow-port=0 --address=127.0.0.1:0 --otlp-http-address=127.0.0.1:0 \
  >"$work/server.log" 2>&1 &
server_pid=$!
deadline=$((SECONDS + 60))
until in_image mytsdb health --http-port="$port" >/dev/null 2>&1; do
  kill -0 "$server_pid" 2>/dev/null || fail "the server ended: $(tail -n 5 "$work/server.log")"
  [ "$SECONDS" -lt "$deadline" ] || fail "the server is not ready after 60 s"
  sleep 0.2
done
curl -sf "http://127.0.0.1:$port/-/ready" || fail "/-/ready is not answered"
curl -sf "http://127.0.0.1:$port/api/v1/query?query=1%2B1" | grep -q '"2"' || fail "1+1 is not 2"
kill -TERM "$server_pid"
wait "$server_pid" || fail "the server ended with status $? on SIGTERM: $(tail -n 5 "$work/server.log")"
server_pid=
in_image mytsdb health --http-port="$port" >/dev/null 2>&1 && fail "health is well without a server"

size=$(buildah "${store[@]}" images --format '{{.Size}}' "$tag")
runtime_size=$(buildah "${store[@]}" images --format '{{.Size}}' "$(name_of RUNTIME_IMAGE)")
archive=$work/mytsdb.tar
rm -f "$archive"
buildah "${store[@]}" push -q "$tag" "docker-archive:$archive:mytsdb:0.1.0" >/dev/null
say "passed: $size, of which the base is $runtime_size; compressed $(gzip -1 -c "$archive" | wc -c) bytes"
say "for kind: kind load image-archive $archive"
