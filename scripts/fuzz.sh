#!/usr/bin/env bash
# Runs the fuzz targets one after the other, each for so long; ends with a status other than 0 at the first finding.
#
# usage: scripts/fuzz.sh SECONDS [TARGET…]
#
# Needs the nightly toolchain and cargo-fuzz; without them it says so and does nothing, unless targets are named.
# Inputs that reach new code are kept outside the repository's corpus, in fuzz/target/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET…]}
shift
missing=""
cargo +nightly --version >/dev/null 2>&1 || missing="the nightly toolchain (rustup toolchain install nightly)"
command -v cargo-fuzz >/dev/null || missing="${missing:+$missing and }cargo-fuzz (cargo install cargo-fuzz)"
if [ -n "$missing" ]; then
  echo "fuzz: skipped, missing: $missing"
  [ $# = 0 ] && exit 0
  exit 1
fi

targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
cargo +nightly fuzz build
for target in "${targets[@]}"; do
  found=fuzz/target/corpus/$target
  mkdir -p "$found" "fuzz/corpus/$target"
  echo "fuzz: $target for $seconds s"
  cargo +nightly fuzz run "$target" "$found" "fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -max_len=16384 -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=256 \
    -print_final_stats=1 -verbosity=0 2>&1 | grep -v "^INFO: \|^$" || { echo "fuzz: $target found something" >&2; exit 1; }
done
