#!/bin/sh
# Builds what is shipped, target/dist/lockstep, laid out by the profile beside this file (docs/decisions/0072). Arguments go to cargo.
set -eu
cd "$(dirname "$0")/.."

# A profile of other contents has another name: cargo then builds anew.
sum=$(sha256sum dist/serve.profdata | cut -c 1-12)
profile=$PWD/target/profiles/$sum.profdata
mkdir -p target/profiles
cp dist/serve.profdata "$profile"

# Functions that are run lie together, apart from those that are not.
export RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }-Cprofile-use=$profile -Cllvm-args=-disable-vp -Cllvm-args=-no-pgo-warn-mismatch -Clink-arg=-Wl,-z,keep-text-section-prefix"
if command -v clang-22 >/dev/null; then
  export CC=clang-22
  export CFLAGS="${CFLAGS:+$CFLAGS }-fprofile-use=$profile -mllvm -static-func-strip-dirname-prefix=99 -mllvm -disable-vp -Wno-profile-instr-unprofiled"
else
  echo 'clang-22 is not installed: what is written in C, the JavaScript engine above all, is compiled without the profile' >&2
fi
exec cargo build --profile dist --locked "$@"
