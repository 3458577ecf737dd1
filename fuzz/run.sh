#!/bin/bash
# Fuzzes one entry of outside bytes: fuzz/run.sh TARGET [SECONDS]. Without arguments: the targets.
# Works on stable Rust: the coverage is that of LLVM's own pass, libFuzzer comes with its crate.
# A finding ends it; its input is left in fuzz/found. c_calls runs the C test of that name, on new seeds.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ $# -lt 1 ]]; then
  grep -ho 'name: "[a-z_]*"' fuzz/targets/*.rs | cut -d'"' -f2 | sort
  echo c_calls
  exit
fi
target=$1 seconds=${2:-60}

if [[ $target == c_calls ]]; then
  cmake -S . -B build/debug -DCMAKE_BUILD_TYPE=Debug >/dev/null
  cmake --build build/debug
  program=$(find build/debug -type f -name c_calls -perm -u+x | head -1)
  end=$((SECONDS + seconds))
  while ((SECONDS < end)); do
    DMAPI_FUZZ_SEED=$RANDOM$RANDOM "$program"
  done
  exit
fi

host=$(rustc -vV | sed -n 's/^host: //p')
coverage="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
  coverage+=" -Cllvm-args=-sanitizer-coverage-$option"
done
# With --target the flags are not those of build scripts, which have no libFuzzer.
RUSTFLAGS="$coverage" CARGO_TARGET_DIR=target/fuzz \
  cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$host"

corpus=target/fuzz/corpus/$target
mkdir -p fuzz/found "$corpus"
FUZZ_SEEDS=$PWD/target/fuzz/corpus cargo test --quiet --locked --test fuzz write_seeds >/dev/null
# In memory: a busy disk makes inputs look slow that are not.
scratch=$(mktemp -d -p /dev/shm fuzz-XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
TMPDIR=$scratch FUZZ_TARGET=$target "target/fuzz/$host/release/fuzz" "$corpus" \
  -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=8192 -artifact_prefix="fuzz/found/$target-"
