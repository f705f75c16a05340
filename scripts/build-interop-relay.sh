#!/usr/bin/env bash
# Builds nostr-rs-relay, a relay that we did not write, for the tests that talk to one, and prints the program's path.
# Does nothing where it is built already. Its sources come from crates.io, locked in nostr/tests/interop-relay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

recipe=nostr/tests/interop-relay
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools
program=$tools/bin/archy-interop-relay
stamp=$tools/interop-relay.stamp

say() { printf 'build-interop-relay: %s\n' "$*" >&2; }

for tool in protoc cc; do
  command -v "$tool" >/dev/null || { say "$tool is missing; run: make deps"; exit 1; }
done

key=$({ rustc --version; find "$recipe" -type f -not -path '*/target/*' -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
if [[ ! -x $program || $(cat "$stamp" 2>/dev/null) != "$key" ]]; then
  say "building nostr-rs-relay, this takes a few minutes once"
  began=$SECONDS
  mkdir -p "$tools/bin"
  nice cargo build --quiet --locked --manifest-path "$recipe/Cargo.toml" --target-dir "$tools/interop-relay-build" \
    --jobs "${ARCHY_INTEROP_JOBS:-2}" >&2
  install -m 0755 "$tools/interop-relay-build/debug/archy-interop-relay" "$program"
  printf '%s' "$key" >"$stamp"
  # 0.8 GB that nothing needs any more.
  rm -rf "$tools/interop-relay-build"
  say "built in $((SECONDS - began)) s"
fi
printf '%s\n' "$program"
