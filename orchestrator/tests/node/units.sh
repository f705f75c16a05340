#!/bin/bash
# What systemd says of every unit that the node makes, on a test node as its user:
#   units.sh DRIVE           DRIVE is the example binary `drive`; the apps' manifests are apps/APP/manifest.yml in the home
# Exits with 0 when all holds; prints each claim, and what was found where one fails.
DRIVE=$(realpath "$1")
# shellcheck source=claims.sh
source "$(dirname "$(realpath "$0")")/claims.sh"

# The highest exposure that archyd's unit may have, times ten: below 5.0 systemd calls it "OK".
EXPOSURE_MAX=30

faults() { # SERVICE…: succeeds when systemd says nothing at all of them
  local said
  said=$(systemd-analyze --user verify "$@" 2>&1)
  [[ -z $said ]] || { echo "$said"; return 1; }
}
services() { # DIRECTORY OUT: the generator takes every file in the directory
  mkdir -p "$2" && QUADLET_UNIT_DIRS=$1 /usr/libexec/podman/quadlet --user -no-kmsg-log "$2"
}

claim "setup" "$DRIVE" setup
claim "every app's units are rendered" "$DRIVE" render "$WORK/rendered" "$HOME"/apps/*/manifest.yml
apps=("$HOME"/apps/*/manifest.yml)
claim "there are apps" test "${#apps[@]}" -ge 5
for manifest in "${apps[@]}"; do
  app=$(basename "$(dirname "$manifest")")
  claim "the generator takes $app" services "$WORK/rendered/$app" "$WORK/services/$app"
  claim "systemd finds no fault with $app" faults "$WORK/services/$app"/*.service
done

mkdir broken && cp "$WORK/services/${app}"/*.service broken/ && file=$(find broken -name '*.service' | head -n 1)
sed -i 's/^\[Service\]$/&\nRestartSecs=2/' "$file"
claim "a fault would be seen" refuted faults "$file"

"$DRIVE" node-unit >archyd.service
sed -i 's|^ExecStart=.*|ExecStart=/bin/true|' archyd.service
claim "systemd finds no fault with archyd's unit" faults "$WORK/archyd.service"
exposure() { systemd-analyze --user security --no-pager --offline=true --threshold="$EXPOSURE_MAX" "$1"; }
claim "archyd's unit exposes no more than it must" exposure "$WORK/archyd.service"
mkdir soft && grep -v '^NoNewPrivileges=\|^SystemCallFilter=' archyd.service >soft/archyd.service
claim "a softer one would be seen" refuted exposure "$WORK/soft/archyd.service"

echo "$failures failed"
[[ $failures -eq 0 ]]
