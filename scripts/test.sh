#!/usr/bin/env bash
# Everything: format, lints, unit and crate tests, the did:key oracle, the store UI, end-to-end tests on real nodes,
# a real browser, one iteration of the lifecycle gate. Cheap steps first; each failing step says what to do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export ARCHY_APPS_OUT=${ARCHY_APPS_OUT:-$target/apps}
logs=$target/test-logs
mkdir -p "$logs"
# What a clean clone is compiled to once gains nothing from the compiler's notes for the next time: a third of the disk.
[[ -z ${CI:-} ]] || export CARGO_INCREMENTAL=0
began=$SECONDS

# step NAME HINT COMMAND…: runs a command, says how long it took, and on failure what to do.
step() {
  local name=$1 hint=$2 start=$SECONDS
  shift 2
  printf '\n== %s\n' "$name"
  if ! "$@"; then
    printf '\n== %s FAILED after %s s\n   what to do: %s\n' "$name" "$((SECONDS - start))" "$hint" >&2
    exit 1
  fi
  printf '== %s: ok, %s s\n' "$name" "$((SECONDS - start))"
}

# aside NAME COMMAND…: starts a command beside the steps; its output goes to a file.
aside() {
  local name=$1
  shift
  "$@" >"$logs/$name.log" 2>&1 &
  printf '%s' "$!" >"$logs/$name.pid"
}

# joined NAME: waits for an aside and shows its output when it failed.
joined() {
  local name=$1
  if ! wait "$(cat "$logs/$name.pid")"; then
    tail -n 60 "$logs/$name.log" >&2
    return 1
  fi
}

# Downloads and root file systems wait for the network and the disk more than for the processor.
aside apps nice apps/build
aside node-base nice tests/node/node base

step 'format' 'run cargo fmt --all' cargo fmt --all --check
step 'store UI: build' 'see the message above; npm --prefix web run build repeats it' make web
step 'store UI: types, lints, unit tests' 'npm --prefix web run check && npm --prefix web test' \
  bash -c 'npm --prefix web run check && npm --prefix web test'
step 'lints' 'mend what clippy names; a rule that is wrong for one place gets #[expect(…, reason = "…")]' \
  cargo clippy --workspace --all-targets -- -D warnings
step 'interop relay' 'scripts/build-interop-relay.sh repeats it' scripts/build-interop-relay.sh
step 'OCI clients' 'scripts/oci-clients.sh repeats it' scripts/oci-clients.sh
step 'unit and crate tests' 'cargo nextest run -p CRATE TEST repeats one' \
  cargo nextest run --workspace --exclude archy-tests
step 'did:key oracle' 'cargo test --manifest-path tests/oracle/Cargo.toml repeats it' \
  cargo test --quiet --locked --manifest-path tests/oracle/Cargo.toml --target-dir "$target/oracle"
step 'build' 'see the message above' make build
step 'test node' 'tests/node/node doctor says what the host lacks' joined node-base
step 'images of the apps' 'apps/build repeats it' joined apps
step 'gate: build' 'see the message above' cargo build -p archy-tests --bin gate
# Beside the end-to-end tests: it waits for nodes to boot and for apps to start more than it works.
gate=(ITERATIONS=1 NODES=1 JOBS=2 PROVE=hello)
aside gate env "${gate[@]}" nice "$target/debug/gate"
step 'browser driver' 'npm --prefix tests/browser ci repeats it' make tests/browser/node_modules/.package-lock.json
step 'end to end, on real nodes and in a real browser' \
  'cargo nextest run -p archy-tests TEST repeats one; logs of its nodes are in target/test-logs' \
  cargo nextest run -p archy-tests
step 'lifecycle gate' "make gate ${gate[*]} repeats it; what is not green is in target/gate/report.md" joined gate

printf '\n== everything passed in %s s\n' "$((SECONDS - began))"
