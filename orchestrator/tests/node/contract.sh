#!/bin/bash
# The orchestrator against real systemd and podman, on a test node as its user:
#   contract.sh DRIVE        DRIVE is the example binary `drive`; page.yml and stack.yml lie beside this script
# Exits with 0 when all holds; prints each claim, and what was found where one fails. KILLS (20): kills at random moments.
DRIVE=$(realpath "$1")
# shellcheck source=claims.sh
source "$(dirname "$(realpath "$0")")/claims.sh"

claim "setup" "$DRIVE" setup
claim "setup again" "$DRIVE" setup
claim "an image is made" make_image
[[ -d layout ]] || exit 1

claim "install of a page" install_page "$HERE/page.yml"
claim "the page answers" page_answers
claim "install of a stack" install_stack
claim "nothing is left to do" quiet
verify() {
  local out found
  out=$(mktemp -d)
  /usr/libexec/podman/quadlet --user -no-kmsg-log "$out" && found=$(systemd-analyze --user verify "$out"/archy.*.service 2>&1)
  [[ -z ${found:-} ]] || { echo "$found"; return 1; }
}
claim "systemd finds no fault with the units" verify
secret=$(cat "$APPS/stack/secrets/db-password")
secret_hidden() { ! { podman inspect stack-web; systemctl --user cat 'archy.stack.*'; journalctl --user; } 2>/dev/null | grep -q "$secret"; }
claim "the secret shows nowhere" secret_hidden
text_exact() { [[ $(podman exec stack-web /bin/busybox sh -c 'echo "$GREETING"') == 'a "b" $HOME %h; x' ]]; }
claim "a value with quotes, % and \$ arrives unchanged" text_exact
no_way_out() { ! podman exec page /bin/busybox wget -T 2 -q -O /dev/null "http://$(hostname -I | cut -d' ' -f1):22/" && podman exec page /bin/busybox ip route | refuted grep default; }
claim "an isolated app has no route out" no_way_out

before="$(container page) $(container stack-web) $(container stack-db)"
claim "a new node recovers" "$DRIVE" recover
claim "and has nothing to do" quiet
claim "running apps were not touched" test "$before" = "$(container page) $(container stack-web) $(container stack-db)"

claim "stop" "$DRIVE" stop stack
claim "it does not run" refuted running stack-web
systemctl --user start archy.stack.web.service
claim "nor when its unit is started by hand" refuted running stack-web
claim "start" "$DRIVE" start stack
claim "restart" "$DRIVE" restart stack
claim "it runs" running stack-web

rm -rf "$UNITS/page" && systemctl --user daemon-reload
claim "removed units come back" says "put the units in place" "$DRIVE" reconcile
claim "the page answers" page_answers
echo 'Environment=X=1' >>"$UNITS/page/archy.page.web.container"
claim "an edited unit is put right" says "put the units in place" "$DRIVE" reconcile
podman network rm -f archy.stack >/dev/null 2>&1
podman secret rm archy.stack.db-password >/dev/null
claim "a removed network and secret come back" says "run archy.stack-network.service again" "$DRIVE" reconcile
systemctl --user stop archy.stack.web archy.stack.db && podman volume rm archy.stack.data >/dev/null
claim "a removed volume comes back" says "run archy.stack.volume.data-volume.service again" "$DRIVE" reconcile
data_kept() { [[ $(podman unshare cat "$APPS/stack/data/data/pass") == "$secret" ]]; }
claim "with its data" data_kept
claim "nothing is left to do" quiet

claim "uninstall" "$DRIVE" uninstall stack
claim "nothing but data is left" none_left stack
claim "the data is kept" data_kept
claim "another publisher does not get it" says "data of another publisher's app" env "DRIVE_KEY=$WORK/other.key" "$DRIVE" install "$HERE/stack.yml" web=layout db=layout
claim "install again" install_stack
claim "with the same secret and data" data_kept
claim "another publisher is refused while it is installed" says "another publisher's app is installed" env "DRIVE_KEY=$WORK/other.key" "$DRIVE" install "$HERE/stack.yml" web=layout db=layout
claim "purge" "$DRIVE" purge stack
claim "nothing is left" none_left stack
claim "not even data" no_directory stack

variant() { # NAME SED…: a page of another name
  local name=$1
  shift
  sed "$@" -e "s/id: page/id: $name/" "$HERE/page.yml" >"$name.yml"
}
refused() { # NAME WORDS: fails with the words, and nothing is left
  claim "$1: $2" says "$2" install_page "$1.yml"
  claim "$1: nothing is left" none_left "$1"
  claim "$1: not even a directory" no_directory "$1"
}
variant sick -e 's|path: /,|path: /nope,|; s/start_period: 10s/start_period: 3s/'
refused sick "never became healthy; the last check said: GET /nope on port 8080 answered 404"
variant exits -e 's|command: .*|command: ["sh", "-c", "exit 7"]|'
refused exits "exit code 7"
variant lost -e 's|command: .*|entrypoint: ["/nope"]|'
refused lost "its program cannot be started"
claim "the page is still there" page_answers

holder 18081
variant second -e 's/host: 18080/host: 18081/'
claim "a taken port is replaced" says '"host_port": 20000' install_page second.yml
release_port
claim "uninstall" "$DRIVE" uninstall second
claim "stop" "$DRIVE" stop page
holder 18080
claim "a port that was taken meanwhile is named with its holder" says "port 18080 is already in use by the program busybox" "$DRIVE" start page
release_port
claim "start" "$DRIVE" start page

image=$(podman images --format '{{.Repository}}@{{.Digest}}' | grep /page/web)
podman run -d --name second "$image" httpd -f -p 1 >/dev/null
claim "a container of others is not replaced" says "a container named second exists already" install_page second.yml
claim "it still runs" running second
podman rm -f -t 0 second >/dev/null

"$DRIVE" watch >watch.log 2>&1 &
WATCH=$!
podman rm -f -t 0 page >/dev/null
claim "a removed container comes back" wait_for page_answers
kill -9 $WATCH && wait $WATCH 2>/dev/null
claim "killing the node leaves the app running" page_answers

page=$(container page)
for ((kill = 1; kill <= ${KILLS:-20}; kill++)); do
  "$DRIVE" install "$HERE/stack.yml" web=layout db=layout >install.log 2>&1 &
  INSTALL=$!
  ms=$((RANDOM % 2200))
  read -rt "$((ms / 1000)).$(printf %03d $((ms % 1000)))" <> <(:)
  kill -9 $INSTALL 2>/dev/null
  wait $INSTALL 2>/dev/null
  "$DRIVE" recover >/dev/null
  if grep -q ^Done install.log; then
    claim "kill $kill after $ms ms: it was done, and stays" running stack-web
  else
    claim "kill $kill after $ms ms ($(grep -o '^[A-Z][a-z]* after' install.log | tail -1)): taken back" none_left stack
  fi
  claim "kill $kill: nothing is left to do" quiet
  [[ ! -d $APPS/stack ]] || "$DRIVE" purge stack >/dev/null 2>&1
done
claim "an install after that works" install_stack
claim "the other app was never touched" test "$page" = "$(container page)"
claim "no text of a manifest gets past the generator" "$DRIVE" inject
"$DRIVE" purge stack && "$DRIVE" purge page
claim "nothing is left at the end" none_left page
echo "$failures failed"
[[ $failures -eq 0 ]]
