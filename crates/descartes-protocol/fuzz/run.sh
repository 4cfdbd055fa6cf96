#!/bin/sh
# Fuzzes the decoder with libFuzzer, guided by coverage, starting from the golden bodies of ../corpus.
#
#     fuzz/run.sh [SECONDS]        default: 60
#
# Needs a C++ compiler. Stable Rust serves: RUSTC_BOOTSTRAP lets it take the sanitizer's flag.
# New bodies and crashes are left in the target folder.
set -eu

seconds=${1:-60}
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-$PWD/target}

RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Zsanitizer=address" \
    cargo build --release --target "$host" --target-dir "$target"

mkdir -p "$target/found"
exec "$target/$host/release/decode" -max_total_time="$seconds" -artifact_prefix="$target/found/" "$target/found" ../corpus
