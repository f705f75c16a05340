#!/bin/bash
# What goes wrong around apps while they run, against real systemd and podman, on a test node as its user:
#   chaos.sh DRIVE           DRIVE is the example binary `drive`; notes.yml lies beside this script
# After each fault the data is there, and the node goes on by itself or says what its owner must do. ROOT: a program that
# runs its arguments as root; SMALL: a directory on a disk of 160 MB. Exits with 0 when all holds; prints each claim, and
# what was found where one fails.
DRIVE=$(realpath "$1")
: "${ROOT:?}" "${SMALL:?}"
# shellcheck source=claims.sh
source "$(dirname "$(realpath "$0")")/claims.sh"
APP=$APPS/notes
DATA=$APP/data/data
SEQ=0

manifest() { sed -e "s/@VERSION@/$1/" "$HERE/notes.yml" >"notes-$1.yml"; }
bring() { DRIVE_SEQ=$((++SEQ)) "$DRIVE" "$1" "notes-$2.yml" web=layout; }
answers() { curl -sf -m 5 "http://127.0.0.1:18080/log" >/dev/null; }
probe() { [[ $(podman unshare cat "$DATA/probe") == kept ]] || { podman unshare ls -la "$DATA"; return 1; }; }
secret() { podman exec notes sh -c 'echo $KEY'; }
settles() { "$DRIVE" recover && "$DRIVE" reconcile && wait_for quiet; } # systemd may be at it
untouched() { [[ $(container notes) == "$ID" ]] || { podman ps -a; return 1; }; }
looks() { "$DRIVE" reconcile; }
again() { # podman's namespaces are made anew, as when this machine starts; what holds them goes
  systemctl --user stop podman.socket podman.service archy.notes.web.service archy-netns.service archy-pause.service
  pkill -9 -u "$UID" conmon
  pkill -9 -u "$UID" -x catatonit
  pkill -9 -u "$UID" aardvark-dns
  rm -rf "$XDG_RUNTIME_DIR/libpod" "$XDG_RUNTIME_DIR/containers"
  systemctl --user reset-failed
  systemctl --user start podman.socket archy-pause.service archy-netns.service
}
whole() { # FAULT: the app answers, with its data and its secret
  claim "$1: the app answers" wait_for answers
  claim "$1: the data is there" probe
  claim "$1: so is the secret" test "$(secret)" = "$SECRET"
}
mended() { claim "$1: the node goes on by itself" settles; whole "$1"; }
claim "setup" "$DRIVE" setup
claim "an image is made" make_image
[[ -d layout ]] || exit 1
manifest 1 && manifest 2
claim "install" bring install 1
podman exec notes sh -c 'echo kept > /var/lib/db/probe'
SECRET=$(secret) ID=$(container notes)
[[ ${#SECRET} -eq 32 || ${#SECRET} -eq 64 ]] || exit 1

# podman's service dies, and then cannot be started.
pkill -9 -u "$UID" -f 'podman system service'
claim "podman's service killed: the next look works" wait_for looks
claim "podman's service killed: nothing is touched" untouched
systemctl --user stop podman.socket podman.service
claim "podman away: that is said" says "podman" "$DRIVE" reconcile
claim "podman away: nothing is touched" answers
claim "podman away: an update is refused" refuted bring update 2
systemctl --user start podman.socket
mended "podman back"
claim "podman back: nothing was touched" untouched

# What the node wrote of the app is spoiled, goes, or both.
for fault in garbage empty gone; do
  case $fault in
    garbage) echo '{"format": 1, "app' >"$APP/desired.json" ;;
    empty) : >"$APP/desired.json" ;;
    gone) rm "$APP/desired.json" ;;
  esac
  mended "state $fault"
  claim "state $fault: nothing was touched" untouched
  claim "state $fault: it is whole again" test -s "$APP/desired.json"
done
cp -a "$APP/desired.json" kept.json
echo '{' | tee "$APP/desired.json" >"$APP/desired.twin.json"
claim "both copies spoiled: the app runs on" untouched
claim "both copies spoiled: that is said" says "cannot be understood" "$DRIVE" status
claim "both copies spoiled: nothing is done to the app" quiet
claim "both copies spoiled: another install is refused" says "cannot be understood" bring install 1
claim "both copies spoiled: the app still runs" untouched
cp -a kept.json "$APP/desired.json"
mended "state restored"
claim "state restored: nothing was touched" untouched

# Units.
rm -r "$UNITS/notes"
mended "units gone"
printf 'half a un' >"$UNITS/notes/archy.notes.web.container"
systemctl --user daemon-reload
mended "a unit cut off"
rm -r "$UNITS/notes" && systemctl --user daemon-reload && podman rm -f -t 1 notes
mended "units and container gone"
systemctl --user mask --runtime archy.notes.web.service 2>/dev/null
podman kill notes
claim "a unit masked by its owner: that is said" wait_for says "is masked" "$DRIVE" status
systemctl --user unmask --runtime archy.notes.web.service && systemctl --user daemon-reload
mended "unmasked"

# What podman has of the app.
podman rm -f -t 0 notes
mended "container removed"
podman secret rm archy.notes.key && podman restart -t 1 notes >/dev/null 2>&1
mended "podman's secret removed"
PODMAN_SECRETS=$(podman info --format '{{.Store.GraphRoot}}')/secrets
empty() { # FILE…: as a power cut does; podman's service, which remembers them, is another after the boot
  for file; do : >"$PODMAN_SECRETS/$file"; done
  systemctl --user stop podman.service
}
empty secrets.json filedriver/secretsdata.json
claim "podman's lists of secrets emptied, as by a power cut: the node goes on by itself" settles
podman rm -f -t 0 notes # another container, since this one's secret is gone
mended "podman's lists of secrets emptied"
empty filedriver/secretsdata.json
claim "one of them emptied: the node goes on by itself" settles
podman rm -f -t 0 notes
mended "one of them emptied"
claim "one of them emptied: podman lists each secret once" test "$(podman secret ls --format '{{.Name}}' | sort | uniq -d | wc -l)" = 0
podman network rm -f archy.notes
mended "network removed"
podman volume rm -f "$(podman volume ls -q | grep '^archy.notes\.')"
mended "volume removed"
chmod 644 "$APP/secrets/key"
claim "secret open to others: the node goes on by itself" settles
claim "secret open to others: it is closed" test "$(stat -c %a "$APP/secrets/key")" = 600

# Processes.
kill -9 "$(podman inspect notes --format '{{.ConmonPid}}')"
claim "conmon killed: the app comes back" wait_for answers
mended "conmon killed"
kill -9 "$(podman inspect notes --format '{{.State.Pid}}')"
claim "the app's first process killed: the app comes back" wait_for answers
mended "the app's first process killed"
pkill -9 -u "$UID" aardvark-dns
mended "the DNS server killed"
pkill -9 -u "$UID" -x catatonit
mended "the pause process killed"

# Data that is not where it was.
mv "$APP/data" "$HOME/away"
ID=$(container notes)
claim "data moved away: the owner is asked for it" says "Put it back" "$DRIVE" status
claim "data moved away: the running app is left alone" untouched
podman kill notes >/dev/null
claim "data moved away: the app does not begin anew" refuted settles
claim "data moved away: that is said" says "the data of volume data is gone" "$DRIVE" restart notes
claim "data moved away: no other was made" test ! -e "$DATA"
mv "$HOME/away" "$APP/data"
claim "data back: the app starts" "$DRIVE" restart notes
mended "data back"

# What only root can do.
generator=/usr/libexec/podman/quadlet
ID=$(container notes)
"$ROOT" chmod 000 $generator
claim "no generator: an update is refused" refuted bring update 2
claim "no generator: that is said" says "cannot run podman's unit generator $generator" bring update 2
systemctl --user daemon-reload
looks >/dev/null 2>&1
claim "no generator: the app runs on" untouched
"$ROOT" chmod 755 $generator
systemctl --user daemon-reload
mended "generator back"
"$ROOT" sed -i.kept "/^$(id -un):/d" /etc/subuid /etc/subgid
claim "no sub-ids: the doctor says so" says "/etc/subuid" "$DRIVE" doctor
claim "no sub-ids: a look changes nothing" quiet
claim "no sub-ids: the app runs on" answers
podman kill notes >/dev/null
claim "no sub-ids: a killed app comes back in the namespace that is held" wait_for answers
again 2>/dev/null
claim "no sub-ids when the machine starts: that is said, and what to do" \
  wait_for says "because /etc/subuid gives this account 0 ids; as root: usermod --add-subuids" "$DRIVE" status
"$ROOT" mv /etc/subuid.kept /etc/subuid && "$ROOT" mv /etc/subgid.kept /etc/subgid
again 2>/dev/null
mended "sub-ids back"

# A disk without room.
export ARCHY_DATA_DIR=$SMALL/archy
"$DRIVE" purge notes >/dev/null
APPS=$ARCHY_DATA_DIR/apps APP=$ARCHY_DATA_DIR/apps/notes DATA=$ARCHY_DATA_DIR/apps/notes/data/data
ARCHY_DATA_DIR=$HOME/.local/share/archy "$DRIVE" purge notes
claim "install on a small disk" bring install 1
podman exec notes sh -c 'echo kept > /var/lib/db/probe'
SECRET=$(secret)
claim "there is room: the update" bring update 2
fill() { fallocate -l "$(($(stat -f -c '%a*%S' "$SMALL") - $1))" "$SMALL/filler"; } # BYTES that stay free
set_version() { "$DRIVE" configure notes "{\"containers\": {\"web\": {\"environment\": {\"VERSION\": \"$1\"}}}}"; }
fill 4194304
claim "little room: back to the version before" "$DRIVE" rollback notes
whole "little room: back"
claim "little room: an update is refused for want of room for a copy" says "not enough room for a copy of the app's data" bring update 2
claim "little room: the app answers" answers
claim "little room: without a copy it is made" env DRIVE_COPY=none DRIVE_SEQ=$((++SEQ)) "$DRIVE" update notes-2.yml web=layout
claim "little room: a setting" set_version little
claim "little room: the app is made anew" "$DRIVE" reinstall notes
whole "little room: anew"
rm "$SMALL/filler"
claim "room for a while: back to the version before" "$DRIVE" rollback-present notes
fill 4096 2>/dev/null
cat /dev/zero >"$SMALL/filler.2" 2>/dev/null
cp "$APP/desired.json" before.json
claim "disk full: an update is refused for want of room" says "room" bring update 2
claim "disk full: the app answers" answers
claim "disk full: a setting that cannot be written down is refused" refuted set_version mine
claim "disk full: what was known is known" cmp before.json "$APP/desired.json"
podman kill notes >/dev/null
claim "disk full: the app is started again" wait_for answers
rm "$SMALL"/filler*
mended "room again"
claim "room again: the update" bring update 2
whole "updated"
"$DRIVE" purge notes
unset ARCHY_DATA_DIR
claim "nothing is left" none_left notes
echo "$failures failed"
[[ $failures -eq 0 ]]
