#!/bin/sh
# Puts an empty library and an empty program beside every manifest, so that cargo can compile the dependencies alone.
# Called by the Dockerfile.
set -eu
find . -name Cargo.toml | while read -r manifest; do
  crate=$(dirname "$manifest")
  mkdir -p "$crate/src" "$crate/benches"
  : >"$crate/src/lib.rs"
  # A manifest that names a benchmark wants its file to be there.
  grep -A1 '^\[\[bench\]\]' "$manifest" | sed -n 's/^name = "\(.*\)"$/\1/p' | while read -r name; do
    echo 'fn main() {}' >"$crate/benches/$name.rs"
  done
done
echo 'fn main() {}' >src/main.rs
