#!/bin/bash
# The parts of the packaging contract that only a real machine can show, on a test node as its user:
#   whole.sh DRIVE        DRIVE is the example binary `drive`; bank.yml and teller.yml lie beside this script
# Exits with 0 when all holds; prints each claim, and what was found where one fails.
set -u
DRIVE=$(realpath "$1")
HERE=$(dirname "$(realpath "$0")")
WORK=$(mktemp -d)
UNITS=$HOME/.config/containers/systemd/archy
APPS=$HOME/.local/share/archy/apps
export DRIVE_HOST_DIRECTORY=$HOME/shared
failures=0
cd "$WORK" || exit 2

claim() { # TEXT COMMAND…
  local text=$1 said
  shift
  if said=$("$@" 2>&1); then
    echo "ok    $text"
  else
    echo "FAIL  $text"
    echo "$said" | sed 's/^/      /'
    failures=$((failures + 1))
  fi
}
says() { # WORDS COMMAND…: the command's output has the words, whatever its exit code
  local words=$1 said
  shift
  said=$("$@" 2>&1)
  grep -qF -- "$words" <<<"$said" || { echo "$said"; return 1; }
}
refuted() { ! "$@"; }
quiet() { # nothing is planned
  local said
  said=$("$DRIVE" reconcile 2>&1) || { echo "$said"; return 1; }
  [[ $(wc -l <<<"$said") -eq 1 ]] || { echo "$said"; return 1; }
}
inside() { local name=$1; shift; podman exec "$name" /bin/busybox "$@"; }
variable() { inside "$1" sh -c "echo \"\$$2\""; }
container() { podman ps -q --no-trunc --filter "name=^$1\$"; }
running() { [[ -n $(container "$1") ]]; }
same() { [[ $1 == "$2" ]] || { echo "$1"; echo "$2"; return 1; }; }
bank() { "$DRIVE" install "${1:-$HERE/bank.yml}" api=layout vault=layout; }
teller() { "$DRIVE" install "${1:-teller.yml}" web=layout alone=layout; }
wait_for() { # COMMAND…: within 30 s
  local deadline=$((SECONDS + 30))
  until "$@"; do [[ $SECONDS -lt $deadline ]] || return 1; done
}
none_left() { # APP
  local found
  found=$(systemctl --user list-units --all "archy.$1.*" "archy.$1-*" --no-legend --no-pager
    podman ps -a --format '{{.Names}}' | grep -E "^$1(-|\$)"
    podman network ls --format '{{.Name}}' | grep -E "^archy\.$1(\.|\$)"
    podman volume ls -q | grep "^archy.$1\."
    podman secret ls --format '{{.Name}}' | grep "^archy.$1\."
    ls -d "$UNITS/$1" 2>/dev/null)
  [[ -z $found ]] || { echo "$found"; return 1; }
}

make_image() {
  mkdir -p context/kept context/www && cp "$(command -v busybox)" context/busybox
  echo seed >context/kept/seed && echo '<h1>hi</h1>' >context/www/index.html
  cat >context/Containerfile <<'TEXT'
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
COPY www /www
COPY --chown=33:33 kept /kept
VOLUME /kept
ENTRYPOINT ["/bin/busybox"]
TEXT
  podman build -q -t localhost/contract:latest context && podman save -q --format oci-dir -o layout localhost/contract:latest
  podman rmi -f localhost/contract:latest
}

mkdir -p "$HOME/shared" && echo certificate >"$HOME/shared/ca.pem"
volumes=$(podman volume ls -q | grep -cv '^archy\.')
namespace() { stat -c %i "$XDG_RUNTIME_DIR/containers/networks/rootless-netns/rootless-netns"; }
claim "setup" "$DRIVE" setup
claim "podman's network namespace is held" wait_for namespace
held=$(namespace)
claim "an image is made" make_image
[[ -d layout ]] || exit 1
sed "s/PUBLISHER/$("$DRIVE" publisher)/" "$HERE/teller.yml" >teller.yml

claim "an app whose dependency is not installed is refused, which is named" says "teller needs the app bank of did:key:" teller
claim "install of an app that others use" bank
ran() { inside bank-api cat /data/ran | tr '\n' ' '; }
claim "its hook ran once, as the container's user" same "$(ran)" "installed 33 "
claim "the file of the node was copied" same "$(inside bank-api cat /data/ca.pem)" certificate
claim "and belongs to the container's user" same "$(inside bank-api stat -c %u /data/ca.pem)" 33
claim "data_uid owns the data" same "$(inside bank-api stat -c %u /data)" 33
claim "a directory in memory" says "tmpfs on /cache" inside bank-api mount
token=$(cat "$APPS/bank/secrets/token") key=$(cat "$APPS/bank/secrets/key")
claim "values are filled in" same "$(variable bank-api FACTS)" \
  "$(hostname) amd64 $(readlink /etc/localtime | sed 's|.*zoneinfo/||;s|^$|Etc/UTC|') http://$(hostname -I | cut -d' ' -f1):19000/home 19000 \${literal}"
claim "a secret in a value arrives" same "$(variable bank-api TOKEN)" "$token"
claim "nothing is left to do" quiet
claim "a new node recovers" "$DRIVE" recover
claim "and has nothing to do" quiet
claim "no hook ran again" same "$(ran)" "installed 33 "

inside bank-api sh -c 'echo mine > /kept/mine'
claim "restart" "$DRIVE" restart bank
claim "what an image declares as a volume outlives its container" same "$(inside bank-api cat /kept/mine /kept/seed | tr '\n' ' ')" "mine seed "
claim "and no anonymous volume was made" same "$(podman volume ls -q | grep -cv '^archy\.')" "$volumes"
claim "no hook ran again" same "$(ran)" "installed 33 "

claim "install of an app that uses it" teller
claim "it is told where" same "$(variable teller-web BANK)" "http://bank-api:9000/"
claim "and a secret of the other" same "$(variable teller-web TOKEN)" "Bearer $token"
reaches() { [[ $(inside teller-web wget -T 3 -q -O - http://bank-api:9000/index.html) == "$token" ]]; }
claim "it reaches what is exported" reaches
vault=$(podman inspect bank-vault --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')
claim "it does not find what is not exported" refuted inside teller-web wget -T 3 -q -O - http://bank-vault:9100/
claim "nor reach it by address" refuted inside teller-web wget -T 3 -q -O - "http://$vault:9100/"
claim "its other container reaches nothing of it" refuted inside teller-alone wget -T 3 -q -O - http://bank-api:9000/
claim "the other does not find its containers by their short names" refuted inside bank-api nslookup alone
claim "nothing is left to do" quiet
# Not as an argument, which would be found.
printf '%s\n%s\n' "$token" "$key" >patterns
hidden() {
  ! { podman inspect $(podman ps -aq); podman volume inspect --all; podman network inspect $(podman network ls -q)
    systemctl --user cat 'archy.*'; cat "$UNITS"/*/*; journalctl --user --no-pager; cat /proc/[0-9]*/cmdline; podman history --no-trunc $(podman images -q)
    cat "$APPS"/*/desired.json; } 2>/dev/null | grep -aqF -f patterns
}
claim "no secret shows in inspect, units, logs, command lines or desired state" hidden

podman kill bank-api >/dev/null
wait_for running bank-api
claim "after the other came back" wait_for says "took" "$DRIVE" reconcile
claim "it reaches it again" wait_for reaches
systemctl --user restart archy.bank.api.service
claim "a container that comes back by itself is put into the network" says "join the networks" "$DRIVE" reconcile
claim "it reaches it again" reaches
before=$(container teller-web)
claim "the other stops" "$DRIVE" stop bank
claim "which does not stop this one" same "$before" "$(container teller-web)"
claim "the other starts" "$DRIVE" start bank
claim "and is found again" wait_for says "took" "$DRIVE" reconcile
claim "it reaches it again" reaches

# An app that wants another has systemd start that one too.
DRIVE_DIE=Starting "$DRIVE" backup bank >/dev/null 2>&1
claim "the other stands still for a backup" refuted running bank-api
systemctl --user restart archy.teller.web.service
claim "and stays so, whoever starts what uses it" refuted running bank-api
claim "all of it" refuted running bank-vault
claim "afterwards it runs again" "$DRIVE" recover
claim "by itself" wait_for quiet
claim "it is found" wait_for reaches
for ((i = 0; i < 40; i++)); do systemctl --user start --no-block archy.bank.vault.service; read -rt 0.1 <> <(:); done &
starts=$!
claim "a stop is a stop, whatever starts it meanwhile" "$DRIVE" stop bank
claim "it is stopped" refuted running bank-vault
wait "$starts"
claim "and stays so" refuted running bank-vault
claim "it starts" "$DRIVE" start bank
claim "and is found again" wait_for says "took" "$DRIVE" reconcile
claim "it reaches it again" wait_for reaches

claim "what others need is not uninstalled" says "bank is needed by teller" "$DRIVE" uninstall bank
claim "nor purged" says "bank is needed by teller" "$DRIVE" purge bank

printf wrong | podman secret create --replace archy.bank.token - >/dev/null
claim "a secret that is another in podman is put right" says "give podman the secret token" "$DRIVE" reconcile
claim "with its value" same "$(podman secret inspect --showsecret archy.bank.token --format '{{.SecretData}}')" "$token"
printf wrong | podman secret create --replace archy.teller.web.TOKEN - >/dev/null
claim "and a value with one in it, with the containers that have it" says "stop archy.teller.web.service" "$DRIVE" reconcile
claim "it is right again" same "$(variable teller-web TOKEN)" "Bearer $token"
chmod 755 "$APPS/bank/secrets" && chmod 644 "$APPS/bank/secrets/token"
claim "open rights are seen" says "give podman the secret" "$DRIVE" reconcile
claim "and closed" same "$(stat -c %a "$APPS/bank/secrets" "$APPS/bank/secrets/token" | tr '\n' ' ')" "700 600 "
rm "$APPS/bank/secrets/token"
claim "a lost file is seen" says "give podman the secret token" "$DRIVE" reconcile
claim "and comes back from podman" same "$(cat "$APPS/bank/secrets/token")" "$token"
podman unshare chown 33:33 "$APPS/bank/secrets/key" "$APPS/bank/secrets"
claim "another owner is seen" says "give podman the secret" "$DRIVE" reconcile
claim "and this user's again" same "$(stat -c %U "$APPS/bank/secrets" "$APPS/bank/secrets/key" | tr '\n' ' ')" "$USER $USER "
claim "with the same value" same "$(cat "$APPS/bank/secrets/key")" "$key"
claim "nothing is left to do" quiet

sed -i 's/PublishPort=19000/PublishPort=19555/' "$UNITS/bank/archy.bank.api.container"
systemctl --user daemon-reload && systemctl --user restart archy.bank.api.service
claim "a container with another port than it should have" says "stop archy.bank.api.service" "$DRIVE" reconcile
port_right() { [[ $(podman ps --filter name=^bank-api\$ --format '{{.Ports}}') == *:19000-\>9000/tcp* ]]; }
claim "has the right one again" port_right
claim "the rest is joined again" wait_for quiet

variant() { sed -e "s/id: bank/id: $1/; s/19000/0/; s/, host: 0//" "${@:2}" "$HERE/bank.yml" >"$1.yml"; }
refused() { # NAME WORDS
  claim "$1: $2" says "$2" bank "$1.yml"
  claim "$1: nothing is left" none_left "$1"
}
variant sulks -e 's/echo installed >> .*"\]/echo nope; exit 3"]/'
refused sulks "step 1 of post_install in container api ended with exit code 3; it said last: nope"
variant slow -e 's/echo installed >> .*"\]/sleep 300"], timeout: 1s/'
refused slow "took longer than 1 s and was ended"
variant nosy -e 's|/home/archy/shared/ca.pem|/etc/passwd|'
refused nosy "does not let apps copy /etc/passwd"
ln -sf /etc/passwd "$HOME/shared/link"
variant sly -e 's|/home/archy/shared/ca.pem|/home/archy/shared/link|'
refused sly "cannot open /home/archy/shared/link beneath"
variant gadget -e 's|stop_timeout: 2s|&\n    devices: [/dev/ttyUSB99]|'
refused gadget "needs the device /dev/ttyUSB99: this machine has no such device"
variant vision -e 's|stop_timeout: 2s|&\n    devices: [nvidia.com/gpu=all]|'
refused vision "describes nvidia.com/gpu"
variant fuse -e 's|stop_timeout: 2s|&\n    devices: [/dev/fuse]|'
claim "a device that is here is given" bank fuse.yml
claim "and can be opened" inside fuse-api sh -c 'exec 3<>/dev/fuse'
"$DRIVE" purge fuse
sed 's/>=1.1/>=2/' teller.yml >newer.yml && sed -i 's/id: teller/id: newer/' newer.yml
claim "a version that will not do is named" says "needs bank >=2, and 1.2.0 is installed" teller newer.yml
sed 's/dependency.bank.url/dependency.bank.nothing/; s/id: teller/id: asks/' teller.yml >asks.yml
claim "a value that is not exported is named" says "needs to know nothing of bank" teller asks.yml

claim "uninstall of the user" "$DRIVE" uninstall teller
claim "nothing of it is left" none_left teller
claim "the other runs on" running bank-api
claim "uninstall of the other" "$DRIVE" uninstall bank
claim "the network namespace outlives its last container" same "$held" "$(namespace)"
claim "which said goodbye" same "$(podman unshare tail -1 "$APPS/bank/data/data/ran")" bye
claim "install again" bank
claim "in the same network namespace" same "$held" "$(namespace)"
claim "and its hook ran once more" same "$(ran)" "installed 33 bye installed 33 "
"$DRIVE" purge bank && "$DRIVE" purge teller >/dev/null 2>&1
claim "nothing is left at the end" none_left bank
claim "not even data" test ! -e "$APPS/bank"
echo "$failures failed"
[[ $failures -eq 0 ]]
