# shellcheck shell=bash
# The ways into a machine: run a command, copy a file, read its logs.

# Runs a command on a machine that is on, in place of this process: signals and the exit code need no relay.
# The command gets a session-like cgroup of its own on the machine and dies with this process.
enter() {
  local name=$1 who=$2 pid cgroup home=/root user=root id=0 slice=system.slice
  local environment=(LANG=C.UTF-8 "TERM=${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
  shift 2
  pid=$(pid1 "$name") || die "the node '$name' is off; \`node start $name\` boots it"
  if [[ $who == archy ]]; then
    home=/home/archy user=archy id=$NODE_UID slice=user.slice/user-$NODE_UID.slice
    environment+=("XDG_RUNTIME_DIR=/run/user/$id" "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$id/bus")
  fi
  environment+=("HOME=$home" "USER=$user" "LOGNAME=$user" SHELL=/bin/bash)
  cgroup=$(node_cgroup "$name")/machine/payload/$slice
  # Missing only while the machine boots or goes down: the command then runs without.
  { mkdir "$cgroup/archy-exec.scope" || true; echo "$BASHPID" >"$cgroup/archy-exec.scope/cgroup.procs" || true; } 2>/dev/null
  exec nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup -- \
    setpriv --reuid "$id" --regid "$id" --init-groups --pdeathsig KILL -- \
    env --ignore-environment --chdir "$home" "${environment[@]}" "$@"
}

inside() { (enter "$@"); }

command_exec() {
  local name=${1:-} who=archy environment=()
  [[ -n $name ]] || usage_error "exec needs a NAME"
  need_node "$name"
  shift
  while [[ $# -gt 0 ]]; do
    case $1 in
      --root) who=root; shift ;;
      --env)
        [[ ${2:-} =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || usage_error "--env needs KEY=VALUE"
        environment+=("$2"); shift 2 ;;
      --) shift; break ;;
      -*) usage_error "exec does not know '$1' (the command follows after --)" ;;
      *) break ;;
    esac
  done
  [[ $# -gt 0 ]] || set -- bash --login
  enter "$name" "$who" "${environment[@]}" "$@"
}

command_push() {
  local name=${1:-} who=archy
  [[ -n $name ]] || usage_error "push needs NAME SRC DST"
  need_node "$name"
  shift
  [[ ${1:-} != --root ]] || { who=root; shift; }
  [[ $# -eq 2 ]] || usage_error "push needs NAME [--root] SRC DST"
  if [[ -d $1 ]]; then
    push_folder "$name" "$who" "$1" "$2"
  else
    [[ -r $1 ]] || die "there is no file '$1'"
    push_file "$name" "$who" "$1" "$2"
  fi
}

# Written beside the target and renamed into place: a running program can be replaced.
push_file() {
  local name=$1 who=$2 source=$3 target=$4 mode
  mode=$(stat -L -c %a "$source")
  # shellcheck disable=SC2016 # expanded on the machine
  inside "$name" "$who" sh -euc '
    target=$1 mode=$2 file=$3
    if [ -d "$target" ] || [ "${target%/}" != "$target" ]; then target=${target%/}/$file; fi
    mkdir -p "$(dirname "$target")"
    new=$(mktemp "$target.XXXXXX")
    trap "rm -f \"\$new\"" EXIT
    cat >"$new"
    chmod "$mode" "$new"
    mv -fT "$new" "$target"
  ' push "$target" "$mode" "${source##*/}" <"$source"
}

# The folder's content goes into the target folder, which is made where it is missing.
push_folder() {
  local name=$1 who=$2 source=$3 target=$4
  # shellcheck disable=SC2016 # expanded on the machine
  tar --create --directory "$source" . | inside "$name" "$who" sh -euc '
    mkdir -p "$1"
    exec tar --extract --no-same-owner --directory "$1"
  ' push "$target"
}

# As the user archy who may read the system's journal too, so that --user and --user-unit mean archy's units.
command_logs() {
  local name=${1:-} dir pid reader
  [[ -n $name ]] || usage_error "logs needs a NAME"
  need_node "$name"
  shift
  dir=$(node_dir "$name")
  reader=(setpriv --reuid "$NODE_UID" --regid "$NODE_UID"
    --groups "$(awk -F: '$1 == "systemd-journal" { print $3 }' "$dir/base/etc/group")"
    env --ignore-environment LANG=C.UTF-8 PATH=/usr/bin:/bin "TERM=${TERM:-dumb}" journalctl --no-pager "$@")
  if pid=$(pid1 "$name"); then
    exec nsenter --target "$pid" --mount --uts --pid -- "${reader[@]}"
  fi
  # shellcheck disable=SC2016 # expanded by the inner shell
  exec unshare --mount --propagation private -- bash -euc '
    dir=$1
    shift
    mount -t overlay overlay -o "lowerdir=$dir/base/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
    exec chroot "$dir/root" "$@"
  ' logs "$dir" "${reader[@]}"
}
