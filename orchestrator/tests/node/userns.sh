#!/bin/bash
# Containers with users of their own against real systemd, podman and restic, on a test node as its user:
#   userns.sh DRIVE          DRIVE is the example binary `drive`; pair.yml lies beside this script
# Exits with 0 when all holds; prints each claim, and what was found where one fails.
DRIVE=$(realpath "$1")
# shellcheck source=claims.sh
source "$(dirname "$(realpath "$0")")/claims.sh"
export DRIVE_HOST_DIRECTORY=$HOME/shared
DATA=$APPS/pair/data
IMAGES=$HOME/.local/share/containers/storage/overlay-images/images.json
LAYOUTS=(web=layout db=layout seeded=layout plain=layout)
SEQ=0

manifest() { # VERSION SED…
  local version=$1
  shift
  sed -e "s/@VERSION@/$version/" "$@" "$HERE/pair.yml" >"pair-$version.yml"
}
bring() { # install|update VERSION: as the next release
  DRIVE_SEQ=$((++SEQ)) "$DRIVE" "$1" "pair-$2.yml" "${LAYOUTS[@]}"
}
inside() { local name=$1; shift; podman exec "pair-$name" /bin/busybox "$@"; }
prints() { # TEXT COMMAND…
  local text=$1 found
  shift
  found=$("$@")
  [[ $found == "$text" ]] || { echo "$found"; return 1; }
}
process() { podman inspect --format '{{.State.Pid}}' "pair-$1"; }
user() { awk '/^Uid:/ { print $2 }' "/proc/$(process "$1")/status"; }
knows() { # CONTAINER uid|gid: succeeds when the owner of the node is one of the container's users or groups
  awk -v me="$(id "-${2:0:1}")" '$2 <= me && me < $2 + $3 { found = 1 } END { exit !found }' "/proc/$(process "$1")/$2_map"
}
mounts() { podman unshare grep -c "/volumes/archy.pair.web/_data " /proc/self/mountinfo; }
ended() { [[ -z $(container pair-web) || $(container pair-web) != "$1" ]]; }
rewind() { for volume in web zero; do podman unshare sh -c "printf '1\n1\n' >$DATA/$volume/log"; done; }
log() { podman unshare cat "$DATA/$1/log" | tr '\n' ' '; }
log_is() { # TEXT: what was written to each volume at each start
  local volume failed=0
  for volume in web zero db seeded; do
    [[ $(log $volume) == "$1" ]] || { echo "$volume: $(log $volume)"; failed=1; }
  done
  return $failed
}
owners() { podman unshare stat -c '%n %u:%g' "$DATA"/{web,zero,db,seeded}{,/log} "$DATA/seeded/index.html" | sed "s|$DATA/||"; }
OWNERS='web 1:1
web/log 1:1
zero 1:1
zero/log 1:1
db 1001:1001
db/log 1001:1001
seeded 1000:1000
seeded/log 1000:1000
seeded/index.html 1000:1000'
owned() { prints "$OWNERS" owners; }
answers() { curl -sf -m 5 http://127.0.0.1:18080/log >/dev/null; }
all() { for name in web db seeded plain; do container "pair-$name"; done; }
same() { [[ $(all) == "$1" ]] || { all; return 1; }; }
copied() { grep -q '"mapped-layers"' "$IMAGES"; }
back_up() { # keeps the backup's name in the file id
  local said
  said=$("$DRIVE" backup pair 2>&1) || { echo "$said"; return 1; }
  tail -n1 <<<"$said" >id
}

mkdir -p "$HOME/shared" && echo noted >"$HOME/shared/note"
claim "setup" "$DRIVE" setup
claim "an image is made" make_image
[[ -d layout ]] || exit 1
for version in 1 2; do manifest $version; done
manifest 5 -e 's|path: /log|path: /nope|'
manifest 3 -e 's/user_namespace: own/user_namespace: shared/'
manifest 4 -e 's/user_namespace: own/user_namespace: shared/' -e 's/name: \(web\|zero\|db\|seeded\), target/name: new-\1, target/'

claim "install" bring install 1
for name in web db seeded; do
  claim "the owner is none of the users of $name" refuted knows $name uid
  claim "nor has one of its groups" refuted knows $name gid
  claim "its processes are another's" refuted prints "$(id -u)" user $name
  claim "it has all users but one" prints "         0          1      65535" inside $name cat /proc/self/uid_map
  claim "to it, a file of the owner's is nobody's" prints 65534 inside $name stat -c %u /.archy/probe
done
claim "a container without that has the owner for its administrator" knows plain uid
claim "with their group" knows plain gid
claim "whose processes are the owner's" prints "$(id -u)" user plain
claim "and whose files are its own" prints 0 inside plain stat -c %u /.archy/probe
claim "the page answers" answers
claim "containers reach one another" prints 1 inside web wget -q -O - http://db:9000/log
claim "each writes its data" log_is "1 "
claim "which is its users'" owned
claim "what was in the image is there" prints seed inside seeded cat /var/lib/db/index.html
claim "a file of the node is the container's user's" prints "1000:1000 noted" inside db sh -c 'busybox stat -c %u:%g /data/note | busybox tr "\n" " "; busybox cat /data/note'
claim "podman keeps a copy of the image with other owners" copied
claim "nothing is left to do" quiet

claim "restart" "$DRIVE" restart pair
claim "the data can be written" log_is "1 1 "
for _ in 1 2; do
  here=$(container pair-web)
  podman kill pair-web >/dev/null
  wait_for ended "$here" && wait_for answers
done
claim "a container that ended by itself leaves no mount behind" prints 1 mounts
rewind
systemctl --user stop archy.pair.web && podman volume rm archy.pair.web >/dev/null
claim "a volume that is removed then" prints 0 mounts
claim "takes no data along" log_is "1 1 "
claim "and comes back" says "run archy.pair.volume.web-volume.service again" "$DRIVE" reconcile
rewind
claim "update" bring update 2
claim "the data can be written" log_is "1 1 2 "
claim "its owners are the same" owned
claim "back to the version before" "$DRIVE" rollback pair
claim "with its data, which can be written" log_is "1 1 1 "
claim "its owners are the same" owned
claim "nothing is left to do" quiet

claim "an update that never gets well is taken back" says "is back" bring update 5
claim "with its data, which can be written" log_is "1 1 1 1 "
claim "its owners are the same" owned
claim "nothing is left to do" quiet

claim "a backup" back_up
backup=$(cat id)
inside web sh -c 'echo spoilt >/web/log'
inside seeded sh -c 'busybox rm /var/lib/db/index.html'
claim "the data is spoilt" refuted owned
claim "a rehearsal proves the backup" says "None" "$DRIVE" rehearse "$backup" "${LAYOUTS[@]}"
claim "restore" "$DRIVE" restore "$backup" "${LAYOUTS[@]}"
claim "the data of the backup can be written" log_is "1 1 1 1 1 "
claim "its owners are the same" owned
claim "nothing is left to do" quiet

here=$(all) written=$(log web)
claim "an update without users of its own is refused" says "belongs to containers with user_namespace own" bring update 3
claim "which says what the publisher has to do" says "the publisher has to keep own, or to give the data a new volume name" bring update 3
claim "the containers are the same" same "$here"
claim "and the data" prints "$written" log web
claim "nothing is left to do" quiet
claim "an update that gives the data new names" bring update 4
claim "has the owner for its administrator" knows web uid
claim "and begins anew" prints 4 inside web cat /web/log
claim "the data from before is there" owned
claim "back to the version before" "$DRIVE" rollback pair
claim "whose users are its own" refuted knows web uid
claim "with its data" owned

claim "uninstall" "$DRIVE" uninstall pair
claim "on the data that was kept, an install without users of its own is refused" says "belongs to containers with user_namespace own" bring install 3
claim "nothing is there but data" none_left pair
claim "which is as it was" owned
claim "an install with users of its own" bring install 2
claim "can use it" answers
claim "its owners are the same" owned
claim "purge" "$DRIVE" purge pair
claim "nothing is left" none_left pair
claim "not even data" no_directory pair
claim "nor the copy of its image" refuted copied

claim "an install without users of its own" bring install 3
claim "has the owner for its administrator" knows web uid
here=$(all)
claim "a backup of data of others is refused" says "this version mounts it with user_namespace own" "$DRIVE" restore "$backup" "${LAYOUTS[@]}"
claim "the containers are the same" same "$here"
claim "nothing is left to do" quiet
claim "an update with users of its own is refused" says "belongs to containers with user_namespace shared" bring update 2
claim "purge" "$DRIVE" purge pair
claim "the backup comes back where nothing is in its way" "$DRIVE" restore "$backup" "${LAYOUTS[@]}"
claim "with its owners" owned
claim "and its users" refuted knows web uid
claim "purge" "$DRIVE" purge pair
claim "nothing is left" none_left pair

podman build -q -t localhost/old:1 context >/dev/null
podman run -d --name notes -v notes-data:/var/lib/db --user 999:999 localhost/old:1 httpd -f -p 8080 -h /var/lib/db >/dev/null
sed -e 's/@VERSION@/1/' -e 's/^    user: .*/&\n    user_namespace: own/' "$HERE/notes.yml" >notes.yml
here=$(container notes)
claim "a container that another made can be claimed" "$DRIVE" claim notes.yml web=layout
claim "its data would not be its users' own" says "Refuses web.data./var/lib/db" "$DRIVE" plan notes
claim "so it is not migrated" says "migrate to a version without that" env DRIVE_ACCEPT=web.data./var/lib/db "$DRIVE" migrate notes web=layout
claim "it is the same container" test "$here" = "$(container notes)"
claim "let go" "$DRIVE" uninstall notes
podman rm -f -t 0 notes >/dev/null && podman volume rm notes-data >/dev/null && podman rmi -f localhost/old:1 >/dev/null
echo "$failures failed"
[[ $failures -eq 0 ]]
