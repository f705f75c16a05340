#!/bin/bash
# Backups against real systemd, podman and restic, on a test node as its user:
#   backup.sh DRIVE          DRIVE is the example binary `drive`; notes.yml lies beside this script
# Exits with 0 when all holds; prints each claim, and what was found where one fails. KILLS (6): kills at random moments.
DRIVE=$(realpath "$1")
# shellcheck source=claims.sh
source "$(dirname "$(realpath "$0")")/claims.sh"
ROOT=$HOME/.local/share/archy
DATA=$APPS/notes/data/data
REPOSITORY=$ROOT/backups/restic
SEQ=0

manifest() { # VERSION SED…
  local version=$1
  shift
  sed -e "s/@VERSION@/$version/" "$@" "$HERE/notes.yml" >"notes-$version.yml"
}
bring() { # install|update VERSION: as the next release
  DRIVE_SEQ=$((++SEQ)) "$DRIVE" "$1" "notes-$2.yml" web=layout
}
log() { curl -sf -m 5 http://127.0.0.1:18080/log | tr '\n' ' '; }
answers() { [[ -n $(log) ]]; }
log_is() { local found; found=$(log); [[ $found == "$1" ]] || { echo "log: $found"; return 1; }; }
starts_with() { local found; found=$(log); [[ $found == "$1"* ]] || { echo "log: $found"; return 1; }; }
back_up() { # keeps the backup's name in the file id
  local said
  said=$("$DRIVE" backup notes 2>&1) || { echo "$said"; return 1; }
  tail -n1 <<<"$said" >id
}
count() { local found; found=$("$DRIVE" backups | wc -l); [[ $found -eq $1 ]] || { echo "$found backups"; return 1; }; }
owners() { podman unshare find "$DATA" -printf '%P %U:%G %m %y %l\n' | sort; }
owned() { local found; found=$(owners); [[ $found == "$1" ]] || { diff <(echo "$1") <(echo "$found"); return 1; }; }
secret_is() { [[ $(podman exec notes sh -c 'echo $KEY') == "$1" && $(cat "$APPS/notes/secrets/key") == "$1" ]]; }
clean() { # nothing of a backup, a restore or a rehearsal is left but the repository
  local found
  found=$(
    find "$ROOT/backup-work" -mindepth 2 2>/dev/null
    find "$ROOT/snapshots" -name '.partial-*' 2>/dev/null
    find "$APPS" -name restoring.json
    grep -rl from-backup "$ROOT/snapshots" 2>/dev/null
    leftovers notes-rehearsal
  )
  [[ -z $found ]] || { echo "$found"; return 1; }
}
settles() { # the node goes on after a kill and has nothing left to do
  # A node's restic ends with the node; here it is orphaned, and ends by itself.
  until ! pgrep -x restic >/dev/null; do :; done
  "$DRIVE" recover && "$DRIVE" reconcile && quiet && clean
}
untouched() { [[ $(container notes) == "$1" ]]; }
hidden() { ! { systemctl --user cat 'archy.*'; journalctl --user; cat "$ROOT/backups.json"; env; } 2>/dev/null | grep -qF "$1"; }

claim "setup" "$DRIVE" setup
claim "doctor finds restic" says "ok      restic" "$DRIVE" doctor
claim "an image is made" make_image
[[ -d layout ]] || exit 1
for version in 1 2; do manifest $version; done

claim "install" bring install 1
podman exec notes sh -c 'cd /var/lib/db && echo kept >probe && chmod 600 probe && ln -sfn /etc link && mkdir deep && echo x >deep/file'
podman unshare chown 123:456 "$DATA/deep/file"
podman unshare truncate -s 256M "$DATA/hole"
before=$(owners)
secret=$(cat "$APPS/notes/secrets/key")
claim "a backup" back_up
claim "the app runs again" answers
first=$(cat id)
claim "it is listed" says "$first notes 1 None" "$DRIVE" backups
claim "nothing but the repository is left" clean
claim "nothing is left to do" quiet
claim "the password is private" test "$(stat -c %a "$ROOT/keys/backups.password")" = 600
claim "and shows nowhere" hidden "$(cat "$ROOT/keys/backups.password")"
claim "the data is encrypted" refuted grep -rq kept "$REPOSITORY"

podman exec notes sh -c 'cd /var/lib/db && rm -r probe deep && echo spoilt >log'
claim "the data is lost" refuted owned "$before"
claim "restore" "$DRIVE" restore "$first" web=layout
claim "the app runs on the data of the backup" log_is "1 1 "
claim "all of it, with its owners" owned "$before"
claim "holes are holes" test "$(podman unshare stat -c '%s' "$DATA/hole")" = 268435456 -a "$(podman unshare stat -c '%b' "$DATA/hole")" -lt 2048
claim "nothing but the repository is left" clean
claim "nothing is left to do" quiet
claim "what was there before is kept" says "BeforeRestore 1" "$DRIVE" snapshots notes
claim "the owner can go back to it" "$DRIVE" rollback notes
claim "and has it" starts_with "spoilt 1 "

claim "an update" bring update 2
echo another >"$APPS/notes/secrets/key"
claim "another secret" "$DRIVE" reconcile
claim "restore of the version before" "$DRIVE" restore "$first" web=layout
claim "brings the version" says '"version": "1"' "$DRIVE" status
claim "and the data" owned "$before"
claim "and the secret" secret_is "$secret"
claim "nothing is left to do" quiet

claim "stop" "$DRIVE" stop notes
claim "a backup of a stopped app" back_up
claim "leaves it stopped" refuted running notes
claim "restore to a stopped app" "$DRIVE" restore "$first" web=layout
claim "leaves it stopped" refuted running notes
claim "start" "$DRIVE" start notes
claim "it has the data" owned "$before"
claim "two backups" count 2

id=$(container notes)
claim "a rehearsal proves the backup" says "None" "$DRIVE" rehearse "$first" web=layout
claim "which is told" says "$first notes 1 Some(None)" "$DRIVE" backups
for fault in torn gone; do
  case $fault in
    torn) echo '{' >"$ROOT/backups.json" ;;
    gone) rm "$ROOT/backups.json" ;;
  esac
  claim "what is known of it, $fault, comes from its twin" says "$first notes 1 Some(None)" "$DRIVE" backups
  claim "what is known of it, $fault, is whole again" test -s "$ROOT/backups.json"
done
claim "the app was not touched" untouched "$id"
claim "nothing of the rehearsal is left" clean
podman exec notes sh -c 'cd /var/lib/db && rm log && ln -s /nowhere/log log'
claim "a backup of broken data" back_up
broken=$(cat id)
claim "restore" "$DRIVE" restore "$first" web=layout
id=$(container notes)
claim "does not come up" says "Some(" "$DRIVE" rehearse "$broken" web=layout
claim "which is told, with the reason" says "notes-rehearsal did not come up" "$DRIVE" backups
claim "the app was not touched" untouched "$id"
claim "nothing of the rehearsal is left" clean
claim "a restore of what does not come up is taken back" says "is back" "$DRIVE" restore "$broken" web=layout
claim "the app runs as before" starts_with "1 1 "
podman unshare mv "$APPS/notes/data/data" "$APPS/notes/data/elsewhere"
claim "where the data was gone, it is taken back too" says "is back" "$DRIVE" restore "$broken" web=layout
claim "and no data is begun anew" test ! -e "$APPS/notes/data/data"
claim "nothing starts without it" refuted running notes
podman unshare mv "$APPS/notes/data/elsewhere" "$APPS/notes/data/data"
claim "with it, the app starts" "$DRIVE" restart notes
claim "and runs as before" starts_with "1 1 "
claim "nothing but the repository is left" clean

claim "uninstall" "$DRIVE" uninstall notes
claim "restore to an uninstalled app" "$DRIVE" restore "$first" web=layout
claim "the app runs on it" log_is "1 1 "
claim "purge" "$DRIVE" purge notes
claim "nothing is left" no_directory notes
claim "a restore of what does not come up" refuted "$DRIVE" restore "$broken" web=layout
claim "leaves nothing" no_directory notes
claim "at all" none_left notes
claim "the backup outlives the purge" "$DRIVE" restore "$first" web=layout
claim "the app runs on it" log_is "1 1 "
claim "all of it, with its owners" owned "$before"
claim "the secret is the one that was" secret_is "$secret"
claim "nothing is left to do" quiet
claim "nothing but the repository is left" clean

# Killed in each phase, and then at any moment: the app runs, its data is there, and nothing is left behind.
for moment in Checking:0 Copying:0 Stopping:0 Stopping:120 Starting:0 Starting:80 Storing:0 Storing:400 Storing:900; do
  DRIVE_DIE=${moment%:*} DRIVE_DIE_MS=${moment#*:} "$DRIVE" backup notes >/dev/null 2>&1
  claim "backup killed at $moment: the node goes on by itself" settles
  claim "backup killed at $moment: the app answers" wait_for answers
  claim "backup killed at $moment: its data is there" starts_with "1 1 "
done
for moment in Checking:0 Restoring:0 Restoring:300 Restoring:900 Validating:0 Starting:0 Starting:60 Starting:250; do
  DRIVE_DIE=${moment%:*} DRIVE_DIE_MS=${moment#*:} "$DRIVE" restore "$first" web=layout >/dev/null 2>&1
  claim "restore killed at $moment: the node goes on by itself" settles
  claim "restore killed at $moment: the app answers" wait_for answers
  claim "restore killed at $moment: its data is there" starts_with "1 1 "
done
for moment in Restoring:0 Restoring:900 Validating:0 Validating:120 Starting:0 Starting:150 Undoing:0 Undoing:100 Undoing:300; do
  id=$(container notes)
  DRIVE_DIE=${moment%:*} DRIVE_DIE_MS=${moment#*:} "$DRIVE" rehearse "$first" web=layout >/dev/null 2>&1
  claim "rehearsal killed at $moment: the node goes on by itself" settles
  claim "rehearsal killed at $moment: the app was not touched" untouched "$id"
done
for moment in Restoring:0 Restoring:900 Preparing:0 Placing:0 Starting:0 Starting:150; do
  "$DRIVE" purge notes >/dev/null
  DRIVE_DIE=${moment%:*} DRIVE_DIE_MS=${moment#*:} "$DRIVE" restore "$first" web=layout >/dev/null 2>&1
  claim "restore after a purge killed at $moment: the node goes on by itself" settles
  claim "restore after a purge killed at $moment: nothing is left" no_directory notes
  claim "restore after a purge killed at $moment: it can be done again" "$DRIVE" restore "$first" web=layout
done
for ((kill = 1; kill <= ${KILLS:-6}; kill++)); do
  "$DRIVE" backup notes >backup.log 2>&1 &
  BACKUP=$!
  ms=$((RANDOM % 3000))
  read -rt "$((ms / 1000)).$(printf %03d $((ms % 1000)))" <> <(:)
  kill -9 $BACKUP 2>/dev/null
  wait $BACKUP 2>/dev/null
  claim "kill $kill after $ms ms: the node goes on by itself" settles
  claim "kill $kill: the app answers" wait_for answers
done

claim "a backup" back_up
claim "old backups are let go" "$DRIVE" thin notes 1
claim "but for the newest" says "$(cat id) notes 1 None" "$DRIVE" backups
claim "and those that were never finished" count 1
mv "$ROOT/keys/backups.password" password
claim "without the password there is no backup" says "locked with a password" "$DRIVE" backup notes
claim "the app runs on" answers
mv password "$ROOT/keys/backups.password"
mv "$REPOSITORY" gone
claim "a disk that is not mounted is told" says "may not be mounted" "$DRIVE" backup notes
claim "and no other repository is begun" test ! -e "$REPOSITORY"
claim "what was there is not forgotten" refuted "$DRIVE" backups
mv gone "$REPOSITORY"
claim "the backup is there again" count 1
for pack in "$REPOSITORY"/data/*/*; do chmod u+w "$pack" && tr '\000-\177\200-\377' '\200-\377\000-\177' <"$pack" >pack && cp pack "$pack"; done
claim "a torn backup is refused" refuted "$DRIVE" restore "$(cat id)" web=layout
claim "the app runs on" answers
claim "nothing is left of it" clean
claim "nothing is left to do" quiet
echo "$failures failed"
[[ $failures -eq 0 ]]
