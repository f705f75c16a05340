#!/bin/bash
# What `vm` has done and looked at on its machine, as the user archy:
#   guest.sh DRIVE COMMAND…     DRIVE is the example binary `drive`; the other scripts and manifests lie in claims/
# Claims are printed one a line; what else `vm` reads is `began` (the operation to cut off starts now) and `found …`.
DRIVE=$(realpath "$1")
shift
WORK=$HOME/work
mkdir -p "$WORK"
# shellcheck source=../../orchestrator/tests/node/claims.sh
source "$HOME/claims/claims.sh"
ROOT=/usr/local/bin/as-root
REPOSITORY=$HOME/.local/share/archy/backups/restic
PASSWORD=$HOME/.local/share/archy/keys/backups.password
SECRETS=16 # of the app `keys`

# An OCI layout without podman, which takes its time on an emulated processor: no two have a layer in common.
layout() { # DIRECTORY WORDS
  local dir=$1 tree=context size digest config
  [[ ! -s $dir/index.json ]] || return 0
  rm -rf "$dir" "$tree" && mkdir -p "$dir/blobs/sha256" "$tree"/{bin,www,data,tmp,etc,proc,sys,dev,run,var/lib/db}
  { cat /usr/bin/busybox; echo "$2"; } >"$tree/bin/busybox"
  chmod 755 "$tree/bin/busybox" && ln -s busybox "$tree/bin/sh"
  echo "<h1>$2</h1>" >"$tree/www/index.html"
  blob() { # FILE: becomes a blob; sets digest and size
    digest=$(sha256sum "$1") digest=${digest%% *} size=$(stat -c %s "$1")
    mv "$1" "$dir/blobs/sha256/$digest"
  }
  tar -C "$tree" --owner=0 --group=0 --numeric-owner --exclude=./var/lib/db -cf layer .
  tar -C "$tree" --owner=999 --group=999 --numeric-owner -rf layer ./var/lib/db && blob layer
  local layer="{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$digest\",\"size\":$size}"
  echo "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Entrypoint\":[\"/bin/busybox\"]},
    \"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$digest\"]}}" >config && blob config
  config="{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size}"
  echo "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":$config,\"layers\":[$layer]}" >manifest
  blob manifest
  echo '{"imageLayoutVersion":"1.0.0"}' >"$dir/oci-layout"
  echo "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size}]}" >"$dir/index.json"
}
port_of() { case $1 in notes) echo 18080 ;; page) echo 18081 ;; fresh) echo 18082 ;; keys) echo 18083 ;; eater) echo 18084 ;; papers) echo 18085 ;; esac; }
answers() { curl -sf -m 20 "http://127.0.0.1:$(port_of "$1")/${2:-log}" >/dev/null; }
page_is_up() { answers page index.html; }
# Writes APP-VERSION.yml and layout-APP-VERSION, to be there after a cut too.
release() { # APP VERSION
  local app=$1 version=$2 number
  local secrets=()
  if [[ $app == keys ]]; then
    for ((number = 1; number < SECRETS; number++)); do
      secrets+=("-e" "/^generated_secrets:/a\\  - {name: key-$number, kind: hex32}")
    done
  fi
  case $app in
    page) sed -e "s/18080/$(port_of page)/" "$HERE/page.yml" ;;
    eater) cat "$HOME/vm/eater.yml" ;;
    *) sed -e "s/@VERSION@/$version/" -e "s/id: notes/id: $app/" -e "s/18080/$(port_of "$app")/" "${secrets[@]}" "$HERE/notes.yml" ;;
  # Each health check is a podman process, which takes seconds here.
  esac | sed -e 's/interval: [0-9a-z]*, start_period: [0-9a-z]*/interval: 10m, timeout: 60s, start_period: 5m/' >"$app-$version.yml"
  layout "layout-$app-$version" "$app $version"
  find "$app-$version.yml" "layout-$app-$version" -exec sync {} + && sync .
}
bring() { # install|update APP VERSION
  DRIVE_SEQ=$(("$3" + 1)) "$DRIVE" "$1" "$2-$3.yml" web="layout-$2-$3"
}
state() { jq -r "$2" "$APPS/$1/desired.json" 2>/dev/null; } # APP FILTER
is_installed() { [[ $(state "$1" '.wish + " " + .stage') == "running installed" ]]; }
version() { state "$1" .release.manifest.app.version; }
settles() { wait_long "$DRIVE" recover && wait_long quiet; } # podman may be slow to answer, and systemd may be at it
wait_long() { # COMMAND…: on an emulated processor
  local deadline=$((SECONDS + 240)) said
  until said=$("$@" 2>&1); do [[ $SECONDS -lt $deadline ]] || { echo "$said"; return 1; }; done
}

# Secrets: the first that an app was given once it was installed are its secrets for good.
secret_files() { (cd "$APPS/$1/secrets" 2>/dev/null && grep -r . . | sort); }
remember_secrets() { secret_files "$1" >"secrets-$1" && sync "secrets-$1" .; }
secrets_kept() { # APP: as first recorded, the same in podman
  local app=$1 names found
  diff "secrets-$app" <(secret_files "$app") || return 1
  [[ -z $(find "$APPS/$app/secrets" -type f -not -perm 600) ]] || { ls -la "$APPS/$app/secrets"; return 1; }
  mapfile -t names < <(sed "s/^\.\/\([^:]*\):.*/archy.$app.\1/" "secrets-$app")
  found=$(podman secret inspect --showsecret "${names[@]}" | jq -r '.[] | .Spec.Name + ":" + .SecretData') || return 1
  diff <(sed "s/^\.\//archy.$app./" "secrets-$app") <(sort <<<"$found")
}

# The counter in notes' data: a line a number, on the disk before it is told.
count() { # the newest counter is the only one
  podman exec notes sh -c '
    cd /var/lib/db; echo $$ >counter; sleep 1; n=$(tail -n 1 count 2>/dev/null); : "${n:=0}"
    while [ "$(cat counter)" = $$ ]; do n=$((n + 1)); echo $n >>count && sync -d count && echo $n || exit 1; sleep 0.2; done'
}
counted() { # TOLD: all numbers are there, one after the other, up to at least this one
  local last
  last=$(podman unshare cat "$APPS/notes/data/data/count" | awk '$0 != NR { print "line " NR " is " $0 > "/dev/stderr"; exit } END { print NR + 0 }')
  [[ $last -ge $1 ]] || { echo "$last lines, and $1 was told"; podman unshare ls -la "$APPS/notes/data/data"; return 1; }
}
fsynced_probe() { podman exec "$1" sh -c 'cd /var/lib/db && echo kept >probe && sync probe .'; }
probe() { [[ $(podman unshare cat "$APPS/$1/data/data/probe") == kept ]] || { podman unshare ls -la "$APPS/$1/data/data"; return 1; }; }

marks() { # APP…: what changes when an app is started again
  local app
  for app; do
    podman inspect "$app" --format '{{.Id}} {{.State.StartedAt}}'
    systemctl --user show -p InvocationID --value "archy.$app.web.service"
  done
}
same_marks() { diff <(echo "$1") <(marks "${@:2}"); }

prepare() {
  claim "setup" "$DRIVE" setup
  for app in page notes; do
    release "$app" 1
    claim "install of $app" bring install "$app" 1
  done
  remember_secrets notes
  claim "page answers" page_is_up
  claim "nothing is left to do" quiet
}

resume() { claim "after a boot, the node goes on by itself" settles; }

# --- limits

inside() { podman exec eater busybox cat "/sys/fs/cgroup/$1"; }
ends_of_memory() { "$ROOT" dmesg | grep 'oom-kill:'; }
eater_is_stopped() { ends_of_memory | grep -q 'oom_memcg=/.*/archy\.eater\.'; }
no_other_is_stopped() { local found; found=$(ends_of_memory | grep -v 'oom_memcg=/.*/archy\.eater\.'); [[ -z $found ]] || { echo "$found"; return 1; }; }
watched() { grep -qF "$1" watch.log; }
limits() {
  local before told
  [[ ! -e $APPS/eater ]] || "$DRIVE" purge eater >/dev/null
  release eater 1
  claim "limits: install" bring install eater 1
  claim "limits: memory" test "$(inside memory.max)" = $((64 << 20))
  claim "limits: processes" test "$(inside pids.max)" = 24
  claim "limits: processor" test "$(inside cpu.max)" = "50000 100000"
  before=$(marks page notes)
  podman exec eater busybox timeout 4 sh -c 'while :; do :; done'
  claim "limits: an app that wants all of the processor is held back" test "$(inside cpu.stat | awk '$1 == "nr_throttled" { print $2 }')" -gt 0
  told=$(podman exec eater sh -c 'for n in $(seq 40); do sleep 10 & done' 2>&1)
  claim "limits: an app that wants more processes than it may does not get them" grep -q "can't fork" <<<"$told"
  claim "limits: others start processes" podman exec page sh -c 'for n in 1 2 3; do true & done; wait'
  claim "limits: and its neighbours are not touched" same_marks "$before" page notes
  claim "limits: the app answers" wait_long answers eater index.html
  wait_long quiet

  "$DRIVE" watch >watch.log 2>&1 &
  local watch=$!
  podman unshare touch "$APPS/eater/data/data/eat"
  claim "limits: an app that eats memory is stopped by the kernel, in its own cgroup" wait_long eater_is_stopped
  claim "limits: the reason is told in plain words" wait_long watched "it used more memory than it may"
  claim "limits: nothing else was stopped" no_other_is_stopped
  claim "limits: its neighbours are not touched" same_marks "$before" page notes
  claim "limits: and answer" page_is_up
  podman unshare rm "$APPS/eater/data/data/eat"
  claim "limits: when it is sated, it comes back by itself" wait_long answers eater index.html
  kill "$watch"; wait "$watch" 2>/dev/null
  sed 's/^/      /' watch.log >&2
  claim "limits: settles" settles
  "$DRIVE" purge eater >/dev/null
  claim "limits: nothing is left of it" none_left eater
}

# --- clock

set_at() { "$DRIVE" configure page '{"containers": {"web": {"environment": {"AT": "'"$1"'"}}}}'; }
set_clock() { "$ROOT" date -s "$1" >/dev/null; }
clock() {
  local shift_by what watch next=$(($(version notes) + 1))
  for shift_by in '+2 hours' '-3 hours'; do
    what="clock 2 h ahead"
    [[ $shift_by == +* ]] || what="clock 1 h behind"
    "$DRIVE" watch >watch.log 2>&1 &
    watch=$!
    podman rm -f -t 0 page >/dev/null
    claim "$what: before, what goes comes back" wait_long page_is_up
    # It cannot start, so the node holds it back until a time that is then far ahead, or long ago.
    podman stop -t 1 page >/dev/null; holder "$(port_of page)"
    claim "$what: an app that cannot start is held back" wait_long watched "already in use"
    set_clock "$(date -d "$shift_by" +%FT%T)"
    release_port
    claim "$what: it comes back all the same" wait_long page_is_up
    podman rm -f -t 0 page >/dev/null
    claim "$what: so does what goes afterwards" wait_long page_is_up
    kill "$watch"; wait "$watch" 2>/dev/null
    sed 's/^/      /' watch.log >&2
    claim "$what: the node converges" settles
    # What was signed within this hour is of the future then, which no node takes for granted.
    local ahead=()
    [[ $shift_by == +* ]] || ahead=(says "ahead of this machine's clock")
    claim "$what: a setting is taken${ahead:+, or the clock is told to be wrong}" "${ahead[@]}" set_at "$next"
    release notes "$next"
    claim "$what: an update" bring update notes "$next"
    claim "$what: a backup" "$DRIVE" backup notes
    claim "$what: a way back${ahead:+, or the clock is told to be wrong}" "${ahead[@]}" "$DRIVE" rollback notes
    claim "$what: a start" "$DRIVE" restart page
    claim "$what: all answers" wait_long answers notes
    claim "$what: no secret is lost" secrets_kept notes
    claim "$what: the node converges" settles
    next=$((next + 1))
  done
  set_clock "$(date -d '+1 hour' +%FT%T)"
  claim "clock right again: a setting is taken" set_at "$next"
  claim "clock right again: a way back" "$DRIVE" rollback notes
  claim "clock right again: the node converges" settles
}

# --- operations to be cut off, each with what must be so before, and what must be so after

begin() { echo began; }
# From the line on that has the words.
begin_at() { while read -r line; do echo "$line"; [[ $line != *" $1" ]] || begin; done; }
before_install() { # NUMBER: every other one finds the data of an earlier install
  release fresh "$1"
  if (($1 % 2)); then
    "$DRIVE" purge fresh
    rm -f secrets-fresh
  else
    is_installed fresh || bring install fresh "$1" || return 1
    fsynced_probe fresh && remember_secrets fresh && "$DRIVE" uninstall fresh
  fi
}
op_install() { begin; bring install fresh "$1"; }
after_install() { # NUMBER DONE
  local with_data=
  (($1 % 2)) || with_data=1
  if is_installed fresh; then
    echo "found installed"
    claim "$NAME: it answers" wait_long answers fresh
  else
    echo "found not installed"
    claim "$NAME: what was told to be done is done" test -z "$2"
    claim "$NAME: nothing of it is left" none_left fresh
    [[ -n $with_data ]] || claim "$NAME: nor its directory, unless it wrote data" no_directory_without_data
    [[ -z $with_data ]] || claim "$NAME: the secrets of the earlier install are there" diff secrets-fresh <(secret_files fresh)
    claim "$NAME: it can be done again" bring install fresh "$1"
    claim "$NAME: and answers" wait_long answers fresh
  fi
  if [[ -n $with_data ]]; then
    claim "$NAME: the data of the earlier install is there" probe fresh
  else
    remember_secrets fresh
    claim "$NAME: its secret is whole" grep -qxE '\./key:[0-9a-f]{64}' secrets-fresh
  fi
  claim "$NAME: its secrets are there, and podman has the same" secrets_kept fresh
}
no_directory_without_data() { no_directory fresh || [[ -n $(ls -A "$APPS/fresh/data/data" 2>/dev/null) ]]; }

before_update() { release notes $((100 + $1)) && version notes >version-before && sync version-before; }
op_update() { begin; bring update notes $((100 + $1)); }
after_update() { # NUMBER DONE
  local found
  found=$(version notes)
  echo "found version $([[ $found == $((100 + $1)) ]] && echo new || echo old)"
  claim "$NAME: it is the old version or the new" grep -qx "$found" <<<"$(cat version-before)"$'\n'$((100 + $1))
  [[ -z $2 ]] || claim "$NAME: what was told to be done is done" test "$found" = $((100 + $1))
  claim "$NAME: it answers" wait_long answers notes
  claim "$NAME: that version runs" test "$(podman exec notes sh -c 'echo $VERSION')" = "$found"
  claim "$NAME: nothing is left behind" no_partials
}
no_partials() {
  local root=$HOME/.local/share/archy found
  found=$(
    find "$root/backup-work" -mindepth 2 2>/dev/null
    find "$root/snapshots" -name '.partial-*' 2>/dev/null
    find "$APPS" -name restoring.json -o -name '.new-*'
    leftovers notes-rehearsal
  )
  [[ -z $found ]] || { echo "$found"; return 1; }
}

before_backup() { touch backups && backups_listed >listed; }
backups_listed() { "$DRIVE" backups | awk '{ print $1 }'; }
op_backup() {
  local id
  begin
  id=$("$DRIVE" backup notes 2>&1 | tee /dev/stderr | tail -n 1)
  [[ ! $id =~ ^[0-9a-f]+$ ]] || { echo "$id" >>backups && sync backups; }
}
in_restic() { env -u RESTIC_REPOSITORY restic --no-cache --quiet -r "$REPOSITORY" -p "$PASSWORD" "$@"; }
after_backup() { # NUMBER DONE LAST
  local first now
  now=$(backups_listed)
  echo "found $([[ $(wc -l <<<"$now") -gt $(wc -l <listed) ]] && echo a new backup || echo no new backup)"
  claim "$NAME: the app answers" wait_long answers notes
  claim "$NAME: every earlier backup is listed" test -z "$(sort listed <(echo "$now") <(echo "$now") | uniq -u)"
  if [[ -e $REPOSITORY/config ]]; then
    claim "$NAME: the repository is sound, to the last byte" in_restic check --read-data --no-lock
  fi
  claim "$NAME: nothing is left behind" no_partials
  claim "$NAME: another backup can be made" "$DRIVE" backup notes
  first=$(backups_listed | head -n 1)
  # It takes a minute, and the bytes of all were read above.
  [[ -z $3 ]] || claim "$NAME: the first backup still brings up the app" says None "$DRIVE" rehearse "$first" web="layout-notes-$(backup_version "$first")"
}
backup_version() { "$DRIVE" backups | awk -v id="$1" '$1 == id { print $3 }'; }

# An app of which the backup is all that there is.
before_restore() {
  release papers 1
  if [[ ! -s papers ]]; then
    "$DRIVE" purge papers
    bring install papers 1 || return 1
    podman exec papers sh -c '
      cd /var/lib/db && mkdir many && dd if=/dev/urandom of=all bs=1M count=4 2>/dev/null || exit 1
      for n in $(seq 256); do dd if=all of=many/$n bs=16k skip=$((n - 1)) count=1 2>/dev/null || exit 1; done' || return 1
    remember_secrets papers
    hashes >hashes-papers && "$DRIVE" backup papers | tail -n 1 >papers && sync hashes-papers papers . || return 1
  fi
  "$DRIVE" purge papers
}
hashes() { podman unshare sh -c 'cd "$0" && sha256sum all many/*' "$APPS/papers/data/data"; }
op_restore() { begin; "$DRIVE" restore "$(cat papers)" web=layout-papers-1; }
after_restore() { # NUMBER DONE
  if is_installed papers; then
    echo "found restored"
  else
    echo "found not installed"
    claim "$NAME: what was told to be done is done" test -z "$2"
    claim "$NAME: nothing of it is left" none_left papers
    claim "$NAME: it can be done again" "$DRIVE" restore "$(cat papers)" web=layout-papers-1
  fi
  claim "$NAME: it answers" wait_long answers papers
  claim "$NAME: every file is as it was backed up" diff hashes-papers <(hashes)
  claim "$NAME: so are its secrets, and podman has the same" secrets_kept papers
  claim "$NAME: nothing is left behind" no_partials
}

before_secrets() { # NUMBER: new ones, and in every other one those that podman is to be given again
  release keys 1
  if (($1 % 2)); then
    "$DRIVE" purge keys
    rm -f secrets-keys
  else
    is_installed keys || bring install keys 1 || return 1
    [[ -e secrets-keys ]] || remember_secrets keys
    podman secret ls --format '{{.Name}}' | grep '^archy.keys\.' | xargs podman secret rm
  fi
}
op_secrets() {
  if (($1 % 2)); then
    bring install keys 1 2>&1 | begin_at Preparing
    return "${PIPESTATUS[0]}"
  else
    begin
    "$DRIVE" reconcile
  fi
}
after_secrets() { # NUMBER DONE
  if is_installed keys; then
    echo "found installed"
  else
    echo "found not installed"
    claim "$NAME: nothing of it is left" none_left keys
    claim "$NAME: it can be done again" bring install keys 1
  fi
  [[ -e secrets-keys ]] || remember_secrets keys
  claim "$NAME: every secret is whole" test "$(grep -cxE '\./key[-0-9]*:[0-9a-f]{64}' secrets-keys)" = "$SECRETS"
  claim "$NAME: they are what they were, and podman has the same" secrets_kept keys
  claim "$NAME: the app answers" wait_long answers keys
  claim "$NAME: the app has its secret" test "./key:$(podman exec keys sh -c 'echo $KEY')" = "$(grep '^./key:' secrets-keys)"
}

# Before the node has done anything: what it wrote last is whole, or its twin is.
state_is_whole() {
  local file
  for file in "$APPS"/*/desired.json; do
    [[ -e $file ]] || continue
    jq -e .format "$file" >/dev/null || { echo "$file"; head -c 300 "$file"; return 1; }
  done
}
twins_are_whole() {
  local file
  for file in "$APPS"/*/desired.twin.json; do
    [[ -e $file ]] || continue
    jq -e .format "$file" >/dev/null 2>&1 || echo "found a torn twin of $(basename "$(dirname "$file")")"
  done
}
secrets_are_whole() { [[ -z $(find "$APPS"/*/secrets -type f -name '[a-z]*' -size 0) ]] || { find "$APPS"/*/secrets -size 0; return 1; }; }
after() { # OPERATION NUMBER TOLD DONE [LAST]
  NAME="$1 cut $2"
  claim "$NAME: no state file is torn" state_is_whole
  twins_are_whole
  claim "$NAME: no secret is torn" secrets_are_whole
  claim "$NAME: the node goes on by itself" settles
  "after_$1" "$2" "$4" "${5:-}"
  claim "$NAME: nothing is left to do" wait_long quiet
  claim "$NAME: what the app was told to be on disk is there" counted "$3"
  claim "$NAME: notes has its secrets, and podman the same" secrets_kept notes
  claim "$NAME: its neighbour answers" wait_long page_is_up
}

case $1 in
  before) "before_$2" "$3" ;;
  op) "op_$2" "$3" ;;
  *) "$@" ;;
esac
status=$?
[[ $1 != op ]] || echo "ended $status"
[[ $1 == op || $1 == count ]] || echo "that is all"
[[ $failures -eq 0 ]] || exit 1
exit $status
