#!/usr/bin/env bash
# Puts archy and archyd in place and, for an ordinary user, sets up and starts the daemon.
# usage: install.sh DIR_WITH_BINARIES [PREFIX]
set -euo pipefail

from=${1:?usage: install.sh DIR_WITH_BINARIES [PREFIX]}
prefix=${2:-/usr/local}

# Where a folder is still to be made, the nearest one above it decides who may make it.
place=$prefix/bin
until [ -e "$place" ]; do place=$(dirname "$place"); done
as_root=()
if [ "$(id -u)" != 0 ] && [ ! -w "$place" ]; then
  if ! command -v sudo >/dev/null; then
    echo "install: $(id -un) may not write to $place; run as root, or: make install PREFIX=\$HOME/.local" >&2
    exit 1
  fi
  as_root=(sudo)
fi

for binary in archy archyd; do
  [ -x "$from/$binary" ] || { echo "install: $from/$binary is missing; run make install" >&2; exit 1; }
done
if ! command -v podman >/dev/null; then
  echo "install: podman is missing; archy needs podman 4.4 or newer (apt-get install podman)" >&2
  exit 1
fi
if ! command -v restic >/dev/null; then
  echo "install: restic is missing; everything but backups works without it (apt-get install restic)" >&2
fi
"${as_root[@]}" install -D -m 0755 -t "$prefix/bin" "$from/archy" "$from/archyd"
echo "installed $prefix/bin/archy and $prefix/bin/archyd"

if [ "$(id -u)" = 0 ]; then
  echo "next: as the user who will run the apps (not root): archyd setup --now"
else
  "$prefix/bin/archyd" setup --now
fi
