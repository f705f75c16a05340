#!/usr/bin/env bash
# Checks the dependency graph with cargo-deny: bans, licences and sources always, advisories where the
# advisory database can be reached.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${CARGO_TARGET_DIR:-target}/tools
if ! command -v cargo-deny >/dev/null && [ ! -x "$tools/bin/cargo-deny" ]; then
  echo "audit: building cargo-deny (once, some minutes)"
  cargo install cargo-deny --version 0.20.2 --locked --root "$tools" --profile dev --quiet
fi
PATH=$PATH:$(cd "$tools" && pwd)/bin

cargo deny --log-level error check bans licenses sources
if cargo deny --log-level error fetch db; then
  cargo deny --log-level error check advisories
else
  echo "audit: advisories NOT checked: the advisory database cannot be reached from here"
fi
