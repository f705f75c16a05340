#!/bin/bash
# Changes of an installed app against real systemd and podman, on a test node as its user:
#   change.sh DRIVE          DRIVE is the example binary `drive`; notes.yml lies beside this script
# Exits with 0 when all holds; prints each claim, and what was found where one fails. KILLS (6): kills at random moments.
DRIVE=$(realpath "$1")
# shellcheck source=claims.sh
source "$(dirname "$(realpath "$0")")/claims.sh"
DATA=$APPS/notes/data/data
SEQ=0

manifest() { # VERSION SED…
  local version=$1
  shift
  sed -e "s/@VERSION@/$version/" "$@" "$HERE/notes.yml" >"notes-$version.yml"
}
bring() { # install|update VERSION: as the next release
  DRIVE_SEQ=$((++SEQ)) "$DRIVE" "$1" "notes-$2.yml" web=layout
}
status() { "$DRIVE" tell notes "$1"; }
log() { curl -sf -m 5 "http://127.0.0.1:${PORT:-18080}/log" | tr '\n' ' '; }
answers() { [[ -n $(log) ]]; }
log_is() { local found; found=$(log); [[ $found == "$1" ]] || { echo "log: $found"; return 1; }; }
is() { local found; found=$(status "$1"); [[ $found == "$2" ]] || { echo "$1 is $found"; return 1; }; }
probe() { [[ $(podman unshare cat "$DATA/probe") == kept ]] || { podman unshare ls -la "$DATA"; return 1; }; }
one_of() { local found; found=$(status /version); [[ " $* " == *" $found "* ]] || { echo "version $found"; return 1; }; }
settles() { # the node goes on after a kill and has nothing left to do
  "$DRIVE" recover && "$DRIVE" reconcile && quiet
}

claim "setup" "$DRIVE" setup
claim "an image is made" make_image
[[ -d layout ]] || exit 1
for version in 1 2 4 6 7; do manifest $version; done
manifest 3 -e 's|path: /log|path: /nope|'
manifest 5 -e 's|network_policy: isolated|network_policy: outbound|'

claim "install" bring install 1
podman exec notes sh -c 'echo kept > /var/lib/db/probe; ln -s /etc /var/lib/db/link; chmod 600 /var/lib/db/probe'
secret=$(cat "$APPS/notes/secrets/key")
id=$(container notes)
claim "update" bring update 2
claim "the new version runs on the data of the old" log_is "1 2 "
claim "in another container" test "$id" != "$(container notes)"
claim "the copy is listed" says "BeforeUpdate 1" "$DRIVE" snapshots notes
claim "what the owner can go back to is told" is /before/version 1
claim "nothing is left to do" quiet

claim "back to the version before" "$DRIVE" rollback notes
claim "with its data" log_is "1 1 "
claim "all of it" probe
claim "what was written since is set aside" says "BeforeRollback 2" "$DRIVE" snapshots notes
claim "and forth again" "$DRIVE" rollback notes
claim "with what was written since" log_is "1 2 2 "
claim "back, with the data as it is" "$DRIVE" rollback-present notes
claim "which is all there" log_is "1 2 2 1 "
claim "nothing is left to do" quiet

claim "an update that never gets well is taken back" says "version 3 of notes did not come up, so 1 is back" bring update 3
claim "the old version runs on the data from before" log_is "1 2 2 1 1 "
claim "the reason is told" says "never became healthy" "$DRIVE" status
claim "the failed version's data is not lost" says "FailedChange 3" "$DRIVE" snapshots notes
claim "its image is not kept" test "$(podman images -q --filter reference=localhost/archy/notes/web | sort -u | wc -l)" -le 2
claim "all data is there" probe
claim "nothing is left to do" quiet

claim "a setting" "$DRIVE" configure notes '{"containers": {"web": {"environment": {"VERSION": "mine"}}}, "ports": [{"container": "web", "container_port": 8080, "protocol": "tcp", "host_port": 18090}]}'
PORT=18090
claim "it is there" log_is "1 2 2 1 1 mine "
claim "an update" bring update 4
claim "keeps it" log_is "1 2 2 1 1 mine mine "
holder 18091
claim "a port that is taken is refused" says "port 18091 is in use" "$DRIVE" configure notes '{"ports": [{"container": "web", "container_port": 8080, "protocol": "tcp", "host_port": 18091}]}'
release_port
claim "a text that no unit can carry is refused" says "cannot be used" "$DRIVE" configure notes '{"containers": {"web": {"environment": {"X": "a\nPodmanArgs=--privileged"}}}}'
claim "a secret cannot be set" says "is a secret" "$DRIVE" configure notes '{"containers": {"web": {"environment": {"KEY": "mine"}}}}'
claim "a setting that breaks it is taken back" says "is back" "$DRIVE" configure notes '{"containers": {"web": {"environment": {"VERSION": "mine", "FAIL": "exit 3"}}}}'
claim "the app runs as before" log_is "1 2 2 1 1 mine mine mine "
claim "the publisher's value again" "$DRIVE" configure notes '{"containers": {"web": {}}, "ports": [{"container": "web", "container_port": 8080, "protocol": "tcp", "host_port": 18080}]}'
PORT=18080
claim "is there" log_is "1 2 2 1 1 mine mine mine 4 "

claim "another network policy" bring update 5
claim "makes another network" test "$(podman network inspect archy.notes --format '{{.Internal}}')" = false
claim "reinstall" "$DRIVE" reinstall notes
claim "keeps the data" probe
claim "and the secret" test "$secret" = "$(podman exec notes sh -c 'echo $KEY')"

claim "stop" "$DRIVE" stop notes
claim "an update of a stopped app" bring update 6
claim "leaves it stopped" refuted running notes
claim "start" "$DRIVE" start notes
claim "the new version runs" says " 6 " log
claim "nothing is left to do" quiet

podman unshare mv "$DATA" "$APPS/notes/data/elsewhere"
for change in "configure notes {}" "update notes-7.yml web=layout" "reinstall notes" "backup notes"; do
  # shellcheck disable=SC2086
  DRIVE_SEQ=$((SEQ + 1)) claim "data that is gone: ${change%% *} says so" says "the data of volume data is gone" "$DRIVE" $change
  claim "data that is gone: ${change%% *} does not begin anew" test ! -e "$DATA"
done
podman unshare mv "$APPS/notes/data/elsewhere" "$DATA"
claim "the data is there again" probe
claim "restart" "$DRIVE" restart notes
claim "nothing is left to do" quiet

podman exec notes sh -c 'mkdir /var/lib/db/many && cd /var/lib/db/many && for i in 0 1 2 3 4 5 6 7 8 9; do busybox dd if=/dev/urandom of=$i bs=1M count=20; done' 2>/dev/null
cancelled() { # an update whose owner changes their mind while the data is copied
  coproc UPDATE { DRIVE_CANCEL=1 DRIVE_SEQ=$((SEQ + 1)) "$DRIVE" update notes-7.yml web=layout 2>&1; }
  local line said='' out=${UPDATE[0]} in=${UPDATE[1]} asked=
  while read -r line <&"$out"; do
    said+=$line$'\n'
    [[ -n $asked || $line != *Copying* ]] || { asked=1 && echo >&"$in"; }
  done
  [[ $said == *cancelled* ]] || { echo "$said"; return 1; }
}
claim "an update is cancelled while it copies" cancelled
partial() { find "$HOME/.local/share/archy/snapshots" -name '.partial-*'; }
claim "no half of a copy is left" test -z "$(partial)"
claim "the app runs as before" wait_for answers
podman exec notes rm -r /var/lib/db/many
claim "nothing is left to do" quiet

# Killed in each phase, and then at any moment: data and one of the two versions are there, always.
for moment in Validating:0 Copying:0 Copying:40 Stopping:0 Stopping:120 Starting:0 Starting:60 Starting:250 \
  Undoing:0 Undoing:60 Undoing:150 Undoing:300 Undoing:500; do
  phase=${moment%:*} wanted=7
  [[ $phase != Undoing ]] || wanted=3
  DRIVE_DIE=$phase DRIVE_DIE_MS=${moment#*:} bring update $wanted >/dev/null 2>&1
  claim "killed at $moment: the node goes on by itself" settles
  claim "killed at $moment: the app answers" wait_for answers
  claim "killed at $moment: the data is there" probe
  claim "killed at $moment: it is one version" one_of 6 7
  [[ $(status /version) == 6 ]] || "$DRIVE" rollback notes >/dev/null
done
for ((kill = 1; kill <= ${KILLS:-6}; kill++)); do
  DRIVE_SEQ=$((++SEQ)) "$DRIVE" update notes-7.yml web=layout >update.log 2>&1 &
  UPDATE=$!
  ms=$((RANDOM % 1500))
  read -rt "$((ms / 1000)).$(printf %03d $((ms % 1000)))" <> <(:)
  kill -9 $UPDATE 2>/dev/null
  wait $UPDATE 2>/dev/null
  claim "kill $kill after $ms ms: the node goes on by itself" settles
  claim "kill $kill: the app answers" wait_for answers
  claim "kill $kill: the data is there" probe
  [[ $(status /version) == 6 ]] || "$DRIVE" rollback notes >/dev/null
done

claim "uninstall" "$DRIVE" uninstall notes
claim "nothing but data is left" none_left notes
claim "install again" bring install 7
claim "on the same data" probe
purged_in_order() { # copies go while the app is on record, so that a killed node goes on with all of it
  "$DRIVE" purge notes &
  local purge=$!
  while [[ -e $APPS/notes ]]; do :; done
  [[ ! -e $HOME/.local/share/archy/snapshots/notes ]] || { echo "copies are left"; return 1; }
  wait $purge
}
claim "purge" purged_in_order
claim "nothing is left" none_left notes
claim "not even data" no_directory notes
claim "nor copies of it" test ! -e "$HOME/.local/share/archy/snapshots/notes"
echo "$failures failed"
[[ $failures -eq 0 ]]
