#!/usr/bin/env bash
# Brings containerd and oras, OCI clients that we did not write, for the tests that pull from our registry endpoint.
# Beside the host's programs, not among them: Debian's containerd would take the place of the one that Docker runs on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

oras=oras==0.2.43
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/tools
clients=$tools/oci-clients

say() { printf 'oci-clients: %s\n' "$*" >&2; }

for tool in apt-get dpkg-deb pip3; do
  command -v "$tool" >/dev/null || { say "$tool is missing; run: make deps"; exit 1; }
done

key=$(sha256sum <scripts/oci-clients.sh)
if [[ $(cat "$clients/stamp" 2>/dev/null) != "$key" ]]; then
  say "fetching containerd and $oras"
  rm -rf "$clients"
  mkdir -p "$clients"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  fetch() { (cd "$work" && apt-get download -q containerd >&2); }
  # The lists of packages may be old, or not there.
  fetch || { [[ $EUID -eq 0 ]] && apt-get update -q >&2 && fetch; } \
    || { say "the package containerd cannot be fetched; run as root: apt-get update"; exit 1; }
  dpkg-deb --extract "$work"/containerd_*.deb "$clients/containerd"
  pip3 install --quiet --disable-pip-version-check --root-user-action ignore --only-binary :all: \
    --target "$clients/oras" "$oras" >&2
  printf '%s' "$key" >"$clients/stamp"
fi
printf '%s\n' "$clients"
