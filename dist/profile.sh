#!/bin/sh
# Takes dist/serve.profdata anew: an instrumented build carries the calls of the benchmarks (docs/decisions/0072).
set -eu
cd "$(dirname "$0")/.."
for tool in clang-22 llvm-profdata-22; do
  command -v $tool >/dev/null || { echo "$tool is missing: make profile installs it" >&2; exit 1; }
done

work=$PWD/target/profile
rm -rf "$work/raw" "$work/run"
mkdir -p "$work/raw" "$work/run"

# The counters lie in a file that is mapped (%c) before a worker shuts itself in, and outlive a process that is killed.
counters="-mllvm -runtime-counter-relocation -mllvm -disable-vp -mllvm -static-func-strip-dirname-prefix=99"
# What runs while it is built (macros, build scripts) has nothing to count.
env LLVM_PROFILE_FILE=/dev/null CARGO_TARGET_DIR="$work" CC=clang-22 CFLAGS="-fprofile-generate=$work/raw/%c $counters" \
  RUSTFLAGS="-Cprofile-generate=$work/raw/%c -Cllvm-args=-runtime-counter-relocation -Cllvm-args=-disable-vp" \
  cargo build --profile dist --locked --package lockstep-engine --bin lockstep

# Those who make the calls are not counted; they take the `lockstep` beside them.
cargo build --locked --package lockstep-tests --bin lockstep-bench
cp "$work/dist/lockstep" target/debug/lockstep-bench "$work/run"
rm -f "$work"/raw/*
"$work/run/lockstep-bench" --once setup=150,300 playback=300 bridge=150 digit noop event_socket_calls event_socket_operation \
  class4_engine class4_http class4_dial incr jobs

llvm-profdata-22 merge --sparse --output dist/serve.profdata "$work"/raw/*.profraw
ls -l dist/serve.profdata
