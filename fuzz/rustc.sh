#!/usr/bin/env bash
# cargo's RUSTC_WRAPPER for the fuzz targets: compiles our crates and the readers below them with libFuzzer's coverage
# counters, on a stable compiler. Everything else, cryptography above all, stays as fast as it is and adds no noise.
set -euo pipefail

rustc=$1
shift
name=
previous=
target=
for argument in "$@"; do
  [[ $previous == --crate-name ]] && name=$argument
  # Build scripts and macros are compiled without a target, and run without libFuzzer.
  [[ $argument == --target ]] && target=yes
  previous=$argument
done
case $target$name in
  yesarchy_registry | yesarchy_nostr | yesregistry | yesnostr | yesserde_json | yesserde_json_canonicalizer | \
    yesserde_saphyr | yesgranit_parser | yessaphyr_parser* | yesjiff | yesbs58 | yessemver | yesurl)
    exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
      -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
  *) exec "$rustc" "$@" ;;
esac
