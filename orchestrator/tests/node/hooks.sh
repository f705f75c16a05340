#!/bin/bash
# What an app asks for round its updates, and what an owner sets with secrets in it, against real systemd and podman, on a
# test node as its user:
#   hooks.sh DRIVE           DRIVE is the example binary `drive`; hooked.yml and page.yml lie beside this script
# Exits with 0 when all holds; prints each claim, and what was found where one fails.
DRIVE=$(realpath "$1")
# shellcheck source=claims.sh
source "$(dirname "$(realpath "$0")")/claims.sh"
DATA=$APPS/hooked/data/data
SEQ=0

bring() { # install|update VERSION LAYOUT [EXIT]: as the next release; its last step after an update ends with EXIT
  sed -e "s/@VERSION@/$2/g; s/@EXIT@/${4:-0}/" "$HERE/hooked.yml" >"hooked-$2.yml"
  DRIVE_SEQ=$((++SEQ)) "$DRIVE" "$1" "hooked-$2.yml" "web=$3" db=layout
}
begin() { # VERSION: an update on its way
  sed -e "s/@VERSION@/$1/g; s/@EXIT@/0/" "$HERE/hooked.yml" >"hooked-$1.yml"
  DRIVE_SEQ=$((++SEQ)) "$DRIVE" update "hooked-$1.yml" web=layout db=layout <&3 >update.log 2>&1 &
  UPDATE=$!
}
cut() { kill -9 $UPDATE; wait $UPDATE 2>/dev/null; }
ended() { [[ $ENDED -eq $1 ]] || { cat update.log; return 1; }; }
put() { podman unshare touch "$DATA/$1"; }
take() { podman unshare rm -f "$DATA/$1"; }
steps() { podman unshare cat "$DATA/steps" 2>/dev/null | tr '\n' ','; }
steps_are() { local found; found=$(steps); [[ $found == "$1" ]] || { echo "steps: $found"; return 1; }; }
is() { local found; found=$("$DRIVE" tell hooked "$1"); [[ $found == "$2" ]] || { echo "$1 is $found"; return 1; }; }
both() { echo "$(container hooked-web) $(container hooked-db)"; }
same() { [[ $1 == "$2" ]] || { echo "$1"; echo "$2"; return 1; }; }
waiting() { podman top hooked-db args | grep -c "go-$1;"; }
waits() { [[ $(waiting "$1") == "$2" ]] || { podman top hooked-db args; return 1; }; }
url() { podman exec hooked-db sh -c 'echo ${URL%%:*}'; }
given() { podman secret inspect --showsecret archy.hooked.db.URL --format '{{.SecretData}}'; }
settles() { "$DRIVE" recover && "$DRIVE" reconcile && quiet; }

mkfifo word && exec 3<>word
claim "setup" "$DRIVE" setup
claim "an image is made" make_image
[[ -d layout ]] || exit 1
echo another >context/www/index.html
podman build -q -t localhost/contract:2 context && podman save -q --format oci-dir -o layout-2 localhost/contract:2
podman rmi -f localhost/contract:2

claim "install" bring install 1 layout
claim "no step of an update ran" steps_are ""
key=$(cat "$APPS/hooked/secrets/key")
before=$(both)
put refuse && put go-pre
claim "a refusing pre_update refuses the update" says "step 1 of pre_update in container db ended with exit code 1" bring update 2 layout-2
claim "it ran once, with the values of the version that ran" steps_are "pre 1 1,prepared 1,"
claim "the app was not touched" same "$before" "$(both)"
claim "nor what it is given" same "$(given)" "1:$key"
claim "nothing is left to do" quiet
claim "the app was not touched after that either" same "$before" "$(both)"

take refuse && take go-pre && take steps
DRIVE_CANCEL=1 begin 2
claim "a slow pre_update" wait_for waits pre 1
echo stop >&3
wait $UPDATE
ENDED=$?
claim "is cancelled" ended 1
claim "in words" says "the change was cancelled" cat update.log
claim "its command has ended" waits pre 0
claim "the app was not touched" same "$before" "$(both)"
claim "nor what it is given" same "$(given)" "1:$key"
claim "nothing is left to do" quiet

take steps
begin 2
claim "the node is killed in a slow pre_update" wait_for waits pre 1
cut
claim "it goes on by itself" settles
claim "the app was not touched" same "$before" "$(both)"
claim "nor updated" is /version 1
begin 2
claim "the next update begins anew" wait_for steps_are "pre 1 1,pre 1 1,"
claim "and ends what was left" waits pre 1
put go-pre && put go-post
wait $UPDATE
ENDED=$?
claim "it is done" ended 0
claim "each step to its end once" steps_are "pre 1 1,pre 1 1,prepared 1,post 2 2,migrated 2,last 2,"
claim "the new version has its own value" same "$(url)" 2
claim "nothing is left to do" quiet

take go-post && take steps
begin 3
claim "the node is killed in a slow post_update" wait_for waits post 1
cut
before=$(both)
settles >update.log 2>&1 &
UPDATE=$!
put go-post
wait $UPDATE
ENDED=$?
claim "it goes on by itself" ended 0
claim "it waited for the step, and did the next" steps_are "pre 2 2,prepared 2,post 3 3,migrated 3,last 3,"
claim "in the containers in which it began" same "$before" "$(both)"
claim "it is the new version" is /version 3

take go-post && take steps
begin 4
claim "the node is killed in a slow post_update once more" wait_for waits post 1
cut
put go-post
claim "which ends while it is away" wait_for waits post 0
claim "it goes on by itself" settles
claim "no step ran again" steps_are "pre 3 3,prepared 3,post 4 4,migrated 4,last 4,"
claim "it is the new version" is /version 4
claim "nothing is left to do" quiet

take steps
image=$(podman inspect hooked-web --format '{{.Image}}')
claim "a failing post_update takes the update back" says "version 5 of hooked did not come up, so 4 is back, with its data: step 2 of post_update in container web ended with exit code 3" bring update 5 layout-2 3
claim "the version" is /version 4
claim "the image" same "$image" "$(podman inspect hooked-web --format '{{.Image}}')"
claim "the data" steps_are "pre 4 4,prepared 4,"
claim "and what it is given" same "$(url)" 4
claim "what the failed version wrote is not lost" says "FailedChange 5" "$DRIVE" snapshots hooked
claim "nothing is left to do" quiet

take steps
claim "stop" "$DRIVE" stop hooked
claim "an update of a stopped app" bring update 6 layout
claim "start" "$DRIVE" start hooked
claim "runs no step" steps_are ""
claim "it has its own value" same "$(url)" 6

mine() { podman exec hooked-web sh -c 'echo $MINE'; }
set_mine() { "$DRIVE" configure hooked "{\"containers\": {\"web\": {\"environment\": {\"MINE\": \"$1\"}}}}"; }
claim "an owner's value with a secret in it" set_mine 'x:${secret.key}'
claim "arrives" same "$(mine)" "x:$key"
hidden() { ! { podman inspect hooked-web; cat "$UNITS"/hooked/* "$APPS/hooked/desired.json"; } | grep -q "$key"; }
claim "and shows nowhere" hidden
claim "nothing is left to do" quiet
claim "a fact of the node" set_mine '${node.arch} ${node.name} $${literal}'
claim "arrives" same "$(mine)" "$(podman info --format '{{.Host.Arch}}') $(hostname) \${literal}"
claim "podman has no secret that nobody uses" refuted podman secret exists archy.hooked.web.MINE
claim "a name that nodes do not know is refused" says 'MINE of container web uses ${node.moon}, which nodes do not know' set_mine '${node.moon}'
claim "and a secret that the app has not" says 'uses ${secret.other}, but generated_secrets lacks it' set_mine '${secret.other}'
claim "nothing is left to do" quiet
claim "purge" "$DRIVE" purge hooked
claim "nothing is left" none_left hooked
claim "not even data" no_directory hooked

# What an app without data of its own wrote elsewhere may be locked with its secrets.
sed -e 's|    ports:|    secret_env: {KEY: key}\n&|' "$HERE/page.yml" >page.yml
echo 'generated_secrets: [{name: key, kind: hex32}]' >>page.yml
claim "an app with a secret and no data" install_page page.yml
claim "is set" "$DRIVE" configure page '{"containers": {"web": {"environment": {"MINE": "mine"}}}}'
key=$(podman exec page sh -c 'echo $KEY')
claim "uninstall" "$DRIVE" uninstall page
claim "nothing runs" none_left page
DRIVE_DIE=Starting "$DRIVE" install page.yml web=layout >/dev/null 2>&1
claim "an install that is killed is taken back" "$DRIVE" recover
claim "nothing runs" none_left page
claim "install again" install_page page.yml
claim "with the same secret" same "$key" "$(podman exec page sh -c 'echo $KEY')"
claim "and what was set" same mine "$(podman exec page sh -c 'echo $MINE')"
claim "purge" "$DRIVE" purge page
claim "nothing is left" none_left page
claim "not even secrets" no_directory page
echo "$failures failed"
[[ $failures -eq 0 ]]
