#!/bin/bash
# Containers that others made, claimed and migrated with real systemd and podman, on a test node as its user:
#   adopt.sh DRIVE            DRIVE is the example binary `drive`; notes.yml, page.yml and stack.yml lie beside this script
#   adopt.sh DRIVE rebooted   afterwards, on the same node, once it was rebooted
# Exits with 0 when all holds; prints each claim, and what was found where one fails. KILLS (3): kills at random moments.
DRIVE=$(realpath "$1")
# shellcheck source=claims.sh
source "$(dirname "$(realpath "$0")")/claims.sh"
KEPT=$HOME/adopt.kept
QUADLETS=$HOME/.config/containers/systemd

# What a container is: afterwards it must be the very same process.
identity() { podman inspect "$1" --format '{{.Id}} {{.State.StartedAt}} {{.State.Pid}}'; }
same() { # NAME IDENTITY
  local found
  found=$(identity "$1") || return 1
  [[ $found == "$2" ]] || { echo "was $2"; echo "is  $found"; return 1; }
}
id_of() { podman inspect "$1" --format '{{.Id}}'; }
tells() { local found; found=$("$DRIVE" tell "$1" "$2"); [[ $found == "$3" ]] || { echo "$2 of $1 is $found"; return 1; }; }
no_units() { [[ ! -e $UNITS/$1 ]] || { find "$UNITS/$1"; return 1; }; }
body() { [[ $(curl -sf -m 5 "http://127.0.0.1:$1/$2") == "$3" ]] || { curl -s -m 5 "http://127.0.0.1:$1/$2"; return 1; }; }
how_many() { podman ps --format '{{.Ports}}' | grep -c ":$1->"; }
one_runs() { [[ $(how_many "$1") -eq 1 ]] || { podman ps -a; return 1; }; }
settles() { "$DRIVE" recover && "$DRIVE" reconcile && quiet; }
accept() { # IDS COMMAND…
  local ids=$1
  shift
  env "DRIVE_ACCEPT=$ids" "$@"
}
old_data() { podman unshare cat "$(podman volume inspect notes-data --format '{{.Mountpoint}}')/probe"; }
old_data_is() { [[ $(old_data) == "$1" ]] || { old_data; return 1; }; }

if [[ ${2:-} == rebooted ]]; then
  # shellcheck source=/dev/null
  source "$KEPT"
  claim "the node looks after a reboot" settles
  claim "the claimed container is the same" test "$CLAIMED" = "$(id_of notes)"
  claim "and runs" running notes
  claim "the app is told to run" tells notes /state running
  claim "nothing of ours is beside it" no_units notes
  claim "of the migrated app, exactly one runs" one_runs 18096
  claim "ours" test -n "$(podman ps -q --filter label=io.archy.app --filter name=^page\$)"
  claim "it answers" wait_for body 18096 index.html '<h1>hi</h1>'
  claim "undo works after a reboot" "$DRIVE" unmigrate page
  claim "the service runs again" systemctl --user is-active page.service
  claim "and nothing of ours" no_units page
  claim "of the compose project, the old containers stand still" refuted running stack_db_1
  claim "and ours run" running stack-db
  echo "$failures failed"
  [[ $failures -eq 0 ]]
  exit
fi

claim "setup" "$DRIVE" setup
claim "an image is made" make_image
[[ -d layout ]] || exit 1
podman build -q -t localhost/old:1 context >/dev/null
systemctl --user enable --now podman-restart.service
sed -e 's/@VERSION@/1/' "$HERE/notes.yml" >notes.yml

# --- podman run --restart ---------------------------------------------------------------------------------------------
podman run -d --name notes --restart always -p 18095:8080 -v notes-data:/var/lib/db --user 999:999 \
  -e KEY=old-key -e VERSION=old -e MODE='a $b' --cap-add NET_ADMIN localhost/old:1 httpd -f -p 8080 -h /var/lib/db >/dev/null
podman exec notes sh -c 'echo kept > /var/lib/db/probe'
CLAIMED=$(id_of notes)
before=$(identity notes)
claim "it is listed with where it comes from" says '"kind": "run"' "$DRIVE" adoptable
claim "and when it is started again" says '"restart": "always"' "$DRIVE" adoptable
claim "an install would destroy it, so it is refused" says "a container named notes exists already" "$DRIVE" install notes.yml web=layout
claim "a container that is not there cannot be claimed" says "no container on this node fits" env DRIVE_CHOSEN=web=nope "$DRIVE" claim notes.yml web=layout
claim "claim" "$DRIVE" claim notes.yml web=layout
claim "it is the very same" same notes "$before"
claim "it is told to run" tells notes /state running
claim "its port is told" tells notes /ports/0/host_port 18095
claim "it is not listed any more" refuted says '"name": "notes"' "$DRIVE" adoptable
claim "nothing is to be done" quiet
claim "no unit of ours is there" no_units notes
"$DRIVE" watch >watch.log 2>&1 &
WATCH=$!
wait_for grep -q Running watch.log
kill -9 $WATCH && wait $WATCH 2>/dev/null
claim "a restart of the node changes nothing" settles
claim "it is the very same" same notes "$before"
claim "it cannot be claimed twice" says "is already installed" "$DRIVE" claim notes.yml web=layout
claim "nor be given settings" says "migrate the app first" "$DRIVE" configure notes '{"containers": {"web": {}}}'
claim "stop" "$DRIVE" stop notes
claim "it stands still" refuted running notes
claim "the node leaves that so" quiet
claim "it is told to stand still" tells notes /state stopped
claim "start" "$DRIVE" start notes
claim "it is the same container" test "$CLAIMED" = "$(id_of notes)"
before=$(identity notes)
claim "letting go" "$DRIVE" uninstall notes
claim "leaves it as it is" same notes "$before"
claim "and nothing of ours" no_directory notes
claim "podman's own service, which started it now, is not told as its service" refuted says podman.service "$DRIVE" adoptable
claim "claim again" "$DRIVE" claim notes.yml web=layout

claim "the plan keeps the port" says "Keeps web.port.18095:8080/tcp" "$DRIVE" plan notes
claim "the plan keeps the data" says "Keeps web.data./var/lib/db" "$DRIVE" plan notes
claim "the plan takes the secret over" says "Keeps web.secret.KEY" "$DRIVE" plan notes
claim "and does not tell it" refuted says old-key "$DRIVE" plan notes
claim "the plan keeps a variable" says "Keeps web.environment.MODE" "$DRIVE" plan notes
claim "the plan names a right that goes" says "Loses web.right.NET_ADMIN" "$DRIVE" plan notes
claim "and the command, which the app has another one for" says "Loses web.container.command" "$DRIVE" plan notes
claim "but not the user, who is the app's" refuted says web.container.user "$DRIVE" plan notes
claim "nor what podman filled in" refuted says web.limit "$DRIVE" plan notes
claim "nobody accepted that, so nothing happens" says "what nobody accepted: it has the capability NET_ADMIN" "$DRIVE" migrate notes web=layout
claim "it is the very same" same notes "$before"
claim "a part is not the whole" says "what nobody accepted: it runs a command" accept web.right.NET_ADMIN "$DRIVE" migrate notes web=layout
LOSES=web.right.NET_ADMIN,web.container.command

migrated() {
  claim "$1: its data is there" body 18095 probe kept
  claim "$1: one runs" one_runs 18095
  claim "$1: the old one is another" refuted test "$CLAIMED" = "$(id_of notes)"
  claim "$1: the old one is kept" podman container exists "$CLAIMED"
  claim "$1: it is not started again" test "$(podman inspect "$CLAIMED" --format '{{.HostConfig.RestartPolicy.Name}} {{.State.Running}}')" = "no false"
  claim "$1: its data is where it was" old_data_is kept
}
claimed() {
  claim "$1: the old one is back" test "$CLAIMED" = "$(id_of notes)"
  claim "$1: it runs" running notes
  claim "$1: it is started again" test "$(podman inspect notes --format '{{.HostConfig.RestartPolicy.Name}}')" = always
  claim "$1: its data is as it was" body 18095 probe kept
  claim "$1: one runs" one_runs 18095
  claim "$1: no unit of ours is there" no_units notes
  claim "$1: it is claimed" tells notes /adoption/migrated false
}
claim "migrate" accept $LOSES "$DRIVE" migrate notes web=layout
migrated "migrated"
claim "the secret is the old one" test "$(podman exec notes sh -c 'echo $KEY')" = old-key
claim "the variable too" test "$(podman exec notes sh -c 'echo $MODE')" = 'a $b'
secret_hidden() { ! { podman inspect notes; cat "$UNITS"/notes/*; cat "$APPS/notes/desired.json"; } 2>/dev/null | grep -q old-key; }
claim "the secret shows nowhere" secret_hidden
claim "nothing is to be done" quiet
podman start --all --filter restart-policy=always >/dev/null 2>&1
claim "what starts at boot does not start the old one" one_runs 18095
claim "an uninstall would forget the old one" says "undo or finish the migration first" "$DRIVE" uninstall notes
podman rm -f -t 0 notes >/dev/null
returns() { "$DRIVE" reconcile >/dev/null && body 18095 probe kept; }
claim "what is removed behind our back comes back with its data" wait_for returns
podman exec notes sh -c 'echo later > /var/lib/db/later'
claim "undo" "$DRIVE" unmigrate notes
claimed "undone"
claim "what was written since is set aside" says "UndoneMigration 1" "$DRIVE" snapshots notes
claim "all of it" test "$(podman unshare sh -c "cat $HOME/.local/share/archy/snapshots/notes/*/data/data/later")" = later
claim "nothing is to be done" quiet

# Killed in each phase, and then at any moment: the data is there, and exactly one of both runs.
tried() { # TEXT
  claim "$1: the node goes on by itself" settles
  claim "$1: it answers" wait_for body 18095 probe kept
  if [[ $("$DRIVE" tell notes /adoption/migrated) == true ]]; then
    migrated "$1"
    claim "$1: undo" "$DRIVE" unmigrate notes
  fi
  claimed "$1"
}
for moment in Validating:0 Copying:0 Stopping:0 Stopping:150 Stopping:400 Placing:0 Starting:0 Starting:150; do
  accept $LOSES env "DRIVE_DIE=${moment%:*}" "DRIVE_DIE_MS=${moment#*:}" "$DRIVE" migrate notes web=layout >/dev/null 2>&1
  tried "killed at $moment"
done
for after in 0 100 400; do
  accept $LOSES "$DRIVE" migrate notes web=layout >/dev/null
  DRIVE_DIE=Undoing DRIVE_DIE_MS=$after "$DRIVE" unmigrate notes >/dev/null 2>&1
  tried "undo killed after $after ms"
done
for ((kill = 1; kill <= ${KILLS:-3}; kill++)); do
  DRIVE_ACCEPT=$LOSES "$DRIVE" migrate notes web=layout >/dev/null 2>&1 &
  MIGRATE=$!
  ms=$((RANDOM % 2500))
  read -rt "$((ms / 1000)).$(printf %03d $((ms % 1000)))" <> <(:)
  kill -9 $MIGRATE 2>/dev/null
  wait $MIGRATE 2>/dev/null
  tried "kill $kill after $ms ms"
done

claim "letting go" "$DRIVE" uninstall notes
sed -e 's/@VERSION@/1/' -e 's|path: /log|path: /nope|' "$HERE/notes.yml" >sick.yml
claim "claim for what never gets well" "$DRIVE" claim sick.yml web=layout
claim "its migration is taken back" says "did not come up, so the containers from before are back" accept $LOSES "$DRIVE" migrate notes web=layout
claimed "taken back"
claim "the reason is told" says "never became healthy" "$DRIVE" tell notes /failed/reason
claim "letting go" "$DRIVE" uninstall notes

podman run -d --name fleeting --rm localhost/old:1 httpd -f -p 8080 -h /www >/dev/null
sed -e 's/id: page/id: fleeting/' "$HERE/page.yml" >fleeting.yml
claim "claim of what goes when it stops" "$DRIVE" claim fleeting.yml web=layout
claim "it is not stopped" says "stopping it would remove it" "$DRIVE" stop fleeting
claim "nor migrated, whatever is accepted" says "stopping it would remove it" accept web.container.removed "$DRIVE" migrate fleeting web=layout
claim "it runs" running fleeting
claim "a purge says that it is to go" "$DRIVE" purge fleeting
claim "and it goes" refuted podman container exists fleeting

# --- a Quadlet file of the owner's ------------------------------------------------------------------------------------
mkdir -p "$QUADLETS"
cat >"$QUADLETS/page.container" <<'UNIT'
[Container]
Image=localhost/old:1
ContainerName=page
Exec=httpd -f -p 8080 -h /www
PublishPort=127.0.0.1:18096:8080
RunInit=true
[Service]
SuccessExitStatus=143
[Install]
WantedBy=default.target
UNIT
systemctl --user daemon-reload
claim "while its service does not run, it is listed all the same" says '"state": "stopped"' "$DRIVE" adoptable
claim "with its file" says "$QUADLETS/page.container" "$DRIVE" adoptable
claim "it cannot be claimed so" says "no container on this node fits" "$DRIVE" claim "$HERE/page.yml" web=layout
claim "an install beside it is refused, with the file" says "$QUADLETS/page.container makes a container named page" "$DRIVE" install "$HERE/page.yml" web=layout
claim "nothing of ours is there" no_units page
systemctl --user start page.service
before=$(identity page)
claim "while it runs, it is not listed twice" test "$("$DRIVE" adoptable | grep -c '"name": "page"')" = 1
claim "a service's container is listed with its file" says "$QUADLETS/page.container" "$DRIVE" adoptable
claim "claim" "$DRIVE" claim "$HERE/page.yml" web=layout
claim "it is the very same" same page "$before"
claim "the node looks and does nothing" settles
claim "it is the very same" same page "$before"
claim "no unit of ours is there" no_units page
claim "restart goes through its service" "$DRIVE" restart page
claim "which runs" systemctl --user is-active page.service
claim "migrate" "$DRIVE" migrate page web=layout
claim "it answers" body 18096 index.html '<h1>hi</h1>'
claim "on the same address only" says "127.0.0.1:18096" podman port page
claim "the service does not run" refuted systemctl --user is-active page.service
systemctl --user start page.service
claim "and does not start" refuted systemctl --user is-active page.service
claim "one runs" one_runs 18096
claim "its file is as it was" grep -q ContainerName=page "$QUADLETS/page.container"
claim "undo" "$DRIVE" unmigrate page
claim "the service runs again" systemctl --user is-active page.service
claim "nothing of ours is beside it" test ! -e "$HOME/.config/systemd/user/page.service.d"
claim "migrate again" "$DRIVE" migrate page web=layout
claim "nothing is to be done" quiet

# --- a service that keeps its container ------------------------------------------------------------------------------
mkdir -p "$HOME/.config/systemd/user"
cat >"$HOME/.config/systemd/user/kept.service" <<'UNIT'
[Service]
Type=forking
ExecStart=/usr/bin/podman start kept
ExecStop=/usr/bin/podman stop -t 1 kept
UNIT
podman create --name kept --label PODMAN_SYSTEMD_UNIT=kept.service --conmon-pidfile "$HOME/kept.pid" -p 18099:8080 \
  -v kept-data:/var/lib/db localhost/old:1 httpd -f -p 8080 -h /www >/dev/null
echo "PIDFile=$HOME/kept.pid" >>"$HOME/.config/systemd/user/kept.service"
systemctl --user daemon-reload && systemctl --user start kept.service
kept=$(id_of kept)
sed -e 's/id: page/id: kept/' "$HERE/page.yml" >kept.yml
claim "it is told from what podman runs by itself" says '"unit": "kept.service"' "$DRIVE" adoptable
claim "claim" "$DRIVE" claim kept.yml web=layout
claim "migrate" accept web.data./var/lib/db "$DRIVE" migrate kept web=layout
claim "its container is kept" podman container exists "$kept"
claim "under another name" refuted test "$kept" = "$(id_of kept)"
claim "the service does not run" refuted systemctl --user is-active kept.service
claim "undo" "$DRIVE" unmigrate kept
claim "the service runs" systemctl --user is-active kept.service
claim "the same container" test "$kept" = "$(podman ps -q --no-trunc --filter name='^kept$')"
claim "letting go" "$DRIVE" uninstall kept

# --- a service that starts a container which it did not make ----------------------------------------------------------
# As podman writes it without --new: nothing in the container tells of the service.
podman create --name bare -p 18100:8080 -v bare-data:/var/lib/db localhost/old:1 httpd -f -p 8080 -h /www >/dev/null
podman generate systemd --name --stop-timeout 1 bare >"$HOME/.config/systemd/user/container-bare.service" 2>/dev/null
BLOCK=$HOME/.config/systemd/user/container-bare.service.d/50-archy-migrated.conf
claim "podman writes a service that starts it" grep -q "podman start bare" "$HOME/.config/systemd/user/container-bare.service"
systemctl --user daemon-reload && systemctl --user enable --now container-bare.service
bare=$(id_of bare)
sed -e 's/id: page/id: bare/' "$HERE/page.yml" >bare.yml
claim "it has no label of its service" test -z "$(podman inspect bare --format '{{index .Config.Labels "PODMAN_SYSTEMD_UNIT"}}')"
claim "its service is told all the same" says '"unit": "container-bare.service"' "$DRIVE" adoptable
claim "claim" "$DRIVE" claim bare.yml web=layout
claim "stop goes through its service" "$DRIVE" stop bare
claim "which does not run" refuted systemctl --user is-active container-bare.service
claim "start" "$DRIVE" start bare
claim "it runs" systemctl --user is-active container-bare.service
claim "migrate" accept web.data./var/lib/db "$DRIVE" migrate bare web=layout
claim "its container is kept" podman container exists "$bare"
claim "its service is kept from starting" test -e "$BLOCK"
systemctl --user start container-bare.service
claim "and does not start" refuted systemctl --user is-active container-bare.service
claim "one runs" one_runs 18100
claim "ours" refuted test "$bare" = "$(id_of bare)"
claim "undo" "$DRIVE" unmigrate bare
claim "the service runs" systemctl --user is-active container-bare.service
claim "the same container" test "$bare" = "$(podman ps -q --no-trunc --filter name='^bare$')"
systemctl --user stop container-bare.service
claim "while it stands still, its service is told as well" tells bare /adoption/containers/web/origin/unit container-bare.service
claim "migrate what stands still" accept web.data./var/lib/db "$DRIVE" migrate bare web=layout
claim "its service is kept from starting" test -e "$BLOCK"
claim "undo" "$DRIVE" unmigrate bare
claim "its service may start" test ! -e "$BLOCK"
claim "letting go" "$DRIVE" uninstall bare
claim "while it stands still, its service is listed" says '"unit": "container-bare.service"' "$DRIVE" adoptable
podman start bare >/dev/null
claim "and while it runs beside its service" says '"unit": "container-bare.service"' "$DRIVE" adoptable
claim "claim" "$DRIVE" claim bare.yml web=layout
claim "stop" "$DRIVE" stop bare
claim "it stands still" refuted running bare
claim "letting go" "$DRIVE" uninstall bare
systemctl --user disable container-bare.service 2>/dev/null
podman rm -f -t 0 bare >/dev/null
podman run -d --rm --name bare -p 18100:8080 -v bare-data:/var/lib/db localhost/old:1 httpd -f -p 8080 -h /www >/dev/null
claim "one that goes with its end is not the service's, which could not make it anew" refuted says container-bare.service "$DRIVE" adoptable
claim "claim" "$DRIVE" claim bare.yml web=layout
claim "it is not stopped" says "was started with --rm" "$DRIVE" stop bare
claim "but runs" running bare
claim "letting go" "$DRIVE" uninstall bare
podman rm -f -t 0 bare >/dev/null

# --- a compose project ------------------------------------------------------------------------------------------------
podman network create stack_default >/dev/null
compose() { # SERVICE ARGUMENTS…
  local service=$1
  shift
  podman run -d --name "stack_${service}_1" --restart always --network "stack_default:alias=$service" \
    --label com.docker.compose.project=stack --label "com.docker.compose.service=$service" "$@" >/dev/null
}
printf project-pass | podman secret create stack-pass - >/dev/null
compose db --user 999:999 -v stack-db:/var/lib/db --secret stack-pass,type=env,target=DB_PASS localhost/old:1 httpd -f -p 9000 -h /var/lib/db
podman exec stack_db_1 sh -c 'echo kept > /var/lib/db/probe'
compose web -p 18097:8080 -e DB_PASS=project-pass localhost/old:1 httpd -f -p 8080 -h /www
before="$(identity stack_web_1) $(identity stack_db_1)"
claim "a project's containers are listed with it" says '"project": "stack"' "$DRIVE" adoptable
claim "claim by the services" "$DRIVE" claim "$HERE/stack.yml" web=layout db=layout
claim "the node looks and does nothing" settles
claim "they are the very same" test "$before" = "$(identity stack_web_1) $(identity stack_db_1)"
claim "migrate" accept web.container.command,db.container.command "$DRIVE" migrate stack web=layout db=layout
claim "it answers" body 18097 index.html '<h1>hi</h1>'
claim "the data is there" test "$(podman exec stack-db /bin/busybox cat /var/lib/db/probe)" = kept
claim "podman's secret was taken over" test "$(podman exec stack-db /bin/busybox cat /var/lib/db/pass)" = project-pass
claim "undo" "$DRIVE" unmigrate stack
claim "they run" running stack_web_1
claim "with their data" test "$(podman exec stack_db_1 /bin/busybox cat /var/lib/db/probe)" = kept
claim "as it was" refuted podman exec stack_db_1 /bin/busybox cat /var/lib/db/pass
claim "migrate again" accept web.container.command,db.container.command "$DRIVE" migrate stack web=layout db=layout

# --- the end of a migration -------------------------------------------------------------------------------------------
claim "claim" "$DRIVE" claim notes.yml web=layout
podman run -d --name last -p 18098:8080 -v last-data:/www localhost/old:1 httpd -f -p 8080 -h /www >/dev/null
sed -e 's/id: page/id: last/' "$HERE/page.yml" >last.yml
last=$(id_of last)
claim "claim of a last one" "$DRIVE" claim last.yml web=layout
claim "data that the app does not ask for is named" says "Loses web.data./www" "$DRIVE" plan last
claim "migrate" accept web.data./www "$DRIVE" migrate last web=layout
claim "finish" "$DRIVE" finish last
claim "the old one is gone" refuted podman container exists "$last"
claim "its volume is not" podman volume exists last-data
claim "nothing is to be done" quiet
claim "undo has nothing to undo" says "has no migration" "$DRIVE" unmigrate last
claim "it can be uninstalled" "$DRIVE" uninstall last

echo "CLAIMED=$CLAIMED" >"$KEPT"
echo "$failures failed"
[[ $failures -eq 0 ]]
