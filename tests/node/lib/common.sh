# shellcheck shell=bash
# shellcheck disable=SC2034 # the other parts use what is set here
# What every part needs: names, places, locks, waiting.

BED=${ARCHY_BED:-demo}
STATE=${ARCHY_NODE_STATE:-/var/lib/archy-nodes}
CACHE=${ARCHY_NODE_CACHE:-${XDG_CACHE_HOME:-/var/cache}/archy/nodes}
RUN=/run/archy-nodes
NODE_UID=1000

say() { printf 'node: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage_error() { say "$*; \`node --help\` shows how"; exit 2; }

# Names become parts of paths, cgroups and host names, so only letters, digits and inner dashes may pass.
valid_name() {
  local what=$1 name=$2 longest=20
  [[ $what == bed ]] && longest=32
  [[ $name =~ ^[a-z]([a-z0-9-]*[a-z0-9])?$ && ${#name} -le $longest ]] ||
    usage_error "'$name' is no $what name: lower-case letters, digits and dashes, starting with a letter, at most $longest long"
}

bed_dir() { printf '%s/%s' "$STATE" "$BED"; }
node_dir() { printf '%s/%s/%s' "$STATE" "$BED" "$1"; }
node_exists() { [[ -e $(node_dir "$1")/number ]]; }

need_node() {
  valid_name node "$1"
  node_exists "$1" || die "there is no node '$1' in the bed '$BED'; \`node up $1\` makes it, \`node list --beds\` shows all"
}

bed_nodes() {
  local file
  for file in "$(bed_dir)"/*/number; do
    [[ -e $file ]] && basename "$(dirname "$file")"
  done
  return 0
}

# Runs a command under a named lock. Whoever dies lets go of it.
with_lock() {
  local name=$1 file=$RUN/locks/$1
  shift
  mkdir -p "$(dirname "$file")"
  (
    exec {lock}>"$file"
    flock -w 600 "$lock" || die "another node command has held '$name' for ten minutes; look for it with: fuser -v $file"
    "$@"
  )
}

# Calls a condition until it holds; fails at the deadline.
wait_for() {
  local deadline_s=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline_s)) || return 1
    sleep 0.05
  done
}

# Runs a function for each name at the same time; fails if one of them did.
for_each() {
  local action=$1 name jobs=() failed=0
  shift
  for name in "$@"; do
    "$action" "$name" &
    jobs+=($!)
  done
  local job
  for job in "${jobs[@]}"; do
    wait "$job" || failed=1
  done
  return "$failed"
}

# Rootless podman needs its storage on a file system that can carry overlays, and the overlay needs one that can carry it.
need_real_fs() {
  local type
  [[ $STATE$CACHE == /* && $STATE$CACHE != *[:,\\\ ]* ]] ||
    die "the folders $STATE and $CACHE must be absolute paths without colons, commas and spaces"
  mkdir -p "$STATE"
  type=$(stat -f -c %T "$STATE")
  case $type in
    tmpfs | ramfs | overlayfs | nfs | fuseblk | fuse)
      die "$STATE is on $type, which cannot carry the machines' disks; set ARCHY_NODE_STATE to a folder on ext4, xfs or btrfs" ;;
  esac
}
