#!/bin/sh
# Compiles every binary of the workspace for the image. Called by the Dockerfile, twice: for the dependencies, for the code.
set -eu
# The allocator is built for one page size; kernels of arm64 have pages of up to 64 KiB.
if [ "$(uname -m)" = aarch64 ]; then
  export JEMALLOC_SYS_WITH_LG_PAGE=16
fi
# With the libraries, so that the dependencies of those without a program are there from the first time on.
exec cargo build --release --locked --workspace --lib --bins
