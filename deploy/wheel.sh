#!/bin/sh
# Build the wheel into a directory: deploy/wheel.sh DIRECTORY. Needs cargo, a C compiler, and maturin of
# deploy/requirements-build.txt on PATH. The same commit and the same Rust give the same bytes, wherever
# they are built; `make reproducible` shows it.
set -eu

if [ "$#" -ne 1 ]; then
    echo "usage: deploy/wheel.sh DIRECTORY" >&2
    exit 2
fi
mkdir -p "$1"
directory=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# Times inside the archive: of the commit; where there is no history, the first that zip can hold.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
# Messages of the Rust code name source files: neither the builder's home nor this folder is in them.
RUSTFLAGS=${RUSTFLAGS-"--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$(pwd)=/source"}
export SOURCE_DATE_EPOCH RUSTFLAGS
umask 022

maturin build --quiet --release --locked --out "$directory"
