# shellcheck shell=bash
# The machines' life. What runs is read from the kernel: a machine is the cgroup that all its processes are in, so no
# stale record and no recycled process id can ever be taken for a machine.

BOOT_S=90       # from start to an answering user bus
POWER_OFF_S=120 # systemd gives a stubborn service 90 s

cgroup2() { awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts; }

# The cgroup that the keeper wrote down when it started; none where the machine has not run since.
node_cgroup() {
  local path
  path=$(cat "$(node_dir "$1")/cgroup" 2>/dev/null) || return 1
  path=$(cgroup2)$path
  [[ -d $path ]] && printf '%s' "$path"
}

# The machine's process 1 as this host numbers it, once systemd has made itself at home.
pid1() {
  local cgroup pid
  cgroup=$(node_cgroup "$1") || return 1
  while read -r pid; do
    grep -Eqs '^NSpid:.*[[:space:]]1$' "/proc/$pid/status" || continue
    printf '%s' "$pid"
    return
  done 2>/dev/null <"$cgroup/machine/payload/init.scope/cgroup.procs"
  return 1
}

is_on() { pid1 "$1" >/dev/null; }
is_on_or_off() { is_on "$1" || is_off "$1"; }
is_off() { ! has_processes "$1"; }

has_processes() {
  local cgroup
  cgroup=$(node_cgroup "$1") || return 1
  grep -qs '^populated 1' "$cgroup/cgroup.events"
}

# The user's bus and podman's socket are there.
is_ready() {
  local pid
  pid=$(pid1 "$1") || return 1
  [[ -S /proc/$pid/root/run/user/$NODE_UID/bus && -S /proc/$pid/root/run/user/$NODE_UID/podman/podman.sock ]]
}

is_ready_or_dead() { is_ready "$1" || is_off "$1"; }

has_another_pid1() {
  local pid
  pid=$(pid1 "$1") || ! has_processes "$1" || return 1
  [[ $pid != "$2" ]]
}

command_up() {
  local names=() name
  while [[ $# -gt 0 ]]; do
    case $1 in
      --nodes)
        [[ ${2:-} =~ ^[0-9]+$ && $2 -ge 1 && $2 -le 26 ]] || usage_error "--nodes needs a number from 1 to 26"
        mapfile -t -O "${#names[@]}" names < <(printf '%s\n' {a..z} | head -n "$2")
        shift 2 ;;
      -*) usage_error "up does not know '$1'" ;;
      *) names+=("$1"); shift ;;
    esac
  done
  [[ ${#names[@]} -gt 0 ]] || usage_error "up needs a NAME, or --nodes N"
  for name in "${names[@]}"; do valid_name node "$name"; done
  owner=${ARCHY_BED_OWNER:-nobody}
  boot_all "${names[@]}"
}

command_start() {
  local name
  [[ $# -gt 0 ]] || usage_error "start needs a NAME"
  for name in "$@"; do need_node "$name"; done
  boot_all "$@"
}

# Made one after the other, so that addresses follow the order of the names; booted at the same time.
boot_all() {
  local name
  prepare_host
  for name in "$@"; do with_lock "node-$BED-$name" ensure_node "$name"; done
  for_each up_node "$@"
}

prepare_host() {
  need_real_fs
  need_devices
  command -v systemd-nspawn >/dev/null || die "systemd-nspawn is missing: run scripts/host-deps.sh"
  remove_orphaned_beds
  ensure_base
}

# pasta opens the tun device as the plain user: the modes are the ones that udev gives these two everywhere.
need_devices() {
  if [[ ! -e /dev/net/tun ]]; then
    modprobe tun 2>/dev/null || true
    mkdir -p /dev/net
    [[ -e /dev/net/tun ]] || mknod /dev/net/tun c 10 200
  fi
  chmod 0666 /dev/net/tun
  [[ ! -e /dev/fuse ]] || chmod 0666 /dev/fuse
}

up_node() {
  with_lock "node-$BED-$1" up_node_locked "$1"
  printf '%s\tup\t%s\n' "$1" "$(address "$1")"
}

up_node_locked() {
  local name=$1
  ensure_node "$name"
  # Between two boots there are processes and no process 1; where that lasts, they are remains.
  wait_for 10 is_on_or_off "$name" || true
  if ! is_on "$name"; then
    clear_remains "$name"
    attach "$name"
    launch "$name"
  fi
  await_ready "$name"
}

ensure_node() { with_lock "bed-$BED" ensure_node_locked "$1"; }

# With the bed's lock held: an `rm` at the same time removes the bed either before this or not at all.
ensure_node_locked() {
  mkdir -p "$(bed_dir)"
  set_owner
  network_up
  node_exists "$1" || create_node "$1"
}

# An `up` says whose the bed is; without an owner it stays until someone removes it. Nothing else changes that.
set_owner() {
  case ${owner:-} in
    "") ;;
    nobody) rm -f "$(bed_dir)/owner" ;;
    # Replaced in one step: another `up` that read it half written would take the bed for an orphan.
    *) owner_mark "$owner" >"$(bed_dir)/.owner.$BASHPID" && mv "$(bed_dir)/.owner.$BASHPID" "$(bed_dir)/owner" ;;
  esac
}

# The number is the last part of the address. Its file is written last: a folder without it is no node yet.
create_node() {
  local name=$1 dir base
  dir=$(node_dir "$name")
  base=$(base_path)
  [[ ! -d $dir ]] || delete_folder "$dir"
  mkdir -p "$dir"/{upper/etc,work,root,home}
  ln -s "$base" "$dir/base"
  chmod 0755 "$dir/upper" "$dir/upper/etc" "$dir/home"
  cp -r "$base/etc/skel" "$dir/home/archy"
  chown -R "$NODE_UID:$NODE_UID" "$dir/home/archy"
  chmod 0700 "$dir/home/archy"
  tr -d - </proc/sys/kernel/random/uuid >"$dir/upper/etc/machine-id"
  free_number >"$dir/number"
}

free_number() {
  local taken candidate
  taken=" $(cat "$(bed_dir)"/*/number 2>/dev/null | tr '\n' ' ') "
  for candidate in {11..254}; do
    [[ $taken == *" $candidate "* ]] || { printf '%s\n' "$candidate"; return; }
  done
  die "the bed '$BED' is full; delete a node: node rm NAME"
}

write_identity() {
  local name=$1 etc
  etc=$(node_dir "$name")/upper/etc
  printf '%s\n' "$name" >"$etc/hostname"
  printf '127.0.0.1 localhost\n::1 localhost\n%s %s\n' "$(address "$name")" "$name" >"$etc/hosts"
  printf 'nameserver %s\noptions timeout:1 attempts:1\n' "$(host_address)" >"$etc/resolv.conf"
}

# Starts the keeper, detached from this terminal and this command.
launch() {
  local name=$1 dir
  dir=$(node_dir "$name")
  [[ -d $dir/base/usr ]] || die "the base system of '$name' ($(readlink "$dir/base")) is gone; delete the node with: node rm $name"
  write_identity "$name"
  rm -f "$dir/cgroup"
  local keeper=(setsid unshare --mount --propagation slave -- bash "$HERE/lib/keeper.sh"
    "$dir" "$name" "archy-$BED.$name" "/run/netns/$(netns "$name")")
  if [[ -d /run/systemd/system ]]; then
    keeper=(systemd-run --quiet --scope --collect --slice=archy.slice --unit="archy-$BED.$name" --property=Delegate=yes
      -- "${keeper[@]}")
  fi
  "${keeper[@]}" </dev/null >>"$dir/console.log" 2>&1 &
  wait_for 10 test -s "$dir/cgroup" || boot_failed "$name" "did not start"
}

await_ready() {
  local name=$1
  wait_for "$BOOT_S" is_ready_or_dead "$name" || boot_failed "$name" "is not ready after $BOOT_S s"
  is_ready "$name" || boot_failed "$name" "died while it booted"
  inside "$name" archy systemctl --user is-active --quiet dbus.socket podman.socket ||
    boot_failed "$name" "is on, but the user's systemd does not answer"
}

boot_failed() {
  tail -n 15 "$(node_dir "$1")/console.log" >&2 || true
  die "the node '$1' $2. Its console is above, its logs: node logs $1 -b. Try \`node doctor\`"
}

# What a killed command or a crash may have left of a machine that is off.
clear_remains() {
  local cgroup
  if cgroup=$(node_cgroup "$1"); then
    echo 1 >"$cgroup/cgroup.kill" 2>/dev/null || true
    wait_for 20 is_off "$1" || die "processes of '$1' do not die; see: cat $cgroup/cgroup.procs"
    remove_cgroup "$cgroup"
  fi
  remove_cgroup "/sys/fs/cgroup/systemd/archy/$BED/$1"
  detach "$1"
}

remove_cgroup() {
  [[ -d $1 ]] || return 0
  find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  rmdir "$(dirname "$1")" "$(dirname "$(dirname "$1")")" 2>/dev/null || true
}

# systemd reads real-time signals as orders: +4 is power off, +5 is reboot.
order() {
  local pid
  pid=$(pid1 "$1") || return 1
  kill -s "$2" "$pid"
}

command_down() {
  local names
  names=$(names_or_all down "$@")
  # shellcheck disable=SC2086 # names are words
  for_each down_node $names
}

down_node() { with_lock "node-$BED-$1" down_node_locked "$1"; }

down_node_locked() {
  local name=$1
  if order "$name" RTMIN+4 && ! wait_for "$POWER_OFF_S" is_off "$name"; then
    say "'$name' did not power off within $POWER_OFF_S s; cutting its power"
  fi
  clear_remains "$name"
}

command_kill() {
  local name
  [[ $# -gt 0 ]] || usage_error "kill needs a NAME"
  for name in "$@"; do need_node "$name"; done
  for_each kill_node "$@"
}

kill_node() { with_lock "node-$BED-$1" kill_node_locked "$1"; }

# The cable first: peers of a machine that lost its power hear nothing, not even a reset.
kill_node_locked() {
  unplug_now "$1"
  order "$1" KILL || true
  wait_for 5 is_off "$1" || true
  clear_remains "$1"
}

command_reboot() {
  local name
  [[ $# -gt 0 ]] || usage_error "reboot needs a NAME"
  for name in "$@"; do
    need_node "$name"
    is_on "$name" || die "the node '$name' is off; \`node start $name\` boots it"
  done
  for_each reboot_node "$@"
}

reboot_node() { with_lock "node-$BED-$1" reboot_node_locked "$1"; }

reboot_node_locked() {
  local name=$1 before
  before=$(pid1 "$name")
  order "$name" RTMIN+5
  wait_for "$POWER_OFF_S" has_another_pid1 "$name" "$before" || die "'$name' did not go down within $POWER_OFF_S s; cut its power with: node kill $name"
  up_node_locked "$name"
}

command_rm() {
  local names
  names=$(names_or_all rm "$@")
  # shellcheck disable=SC2086 # names are words
  for_each rm_node $names
  with_lock "bed-$BED" remove_empty_bed
}

rm_node() { with_lock "node-$BED-$1" rm_node_locked "$1"; }

rm_node_locked() {
  [[ -d $(node_dir "$1") ]] || return 0
  kill_node_locked "$1"
  delete_folder "$(node_dir "$1")"
}

delete_folder() { rm -rf --one-file-system "$1"; }

remove_empty_bed() {
  [[ -d $(bed_dir) && -z $(bed_nodes) ]] || return 0
  network_down
  delete_folder "$(bed_dir)"
}

# The names given, each checked; or every node of the bed.
names_or_all() {
  local command=$1 name
  shift
  [[ $# -gt 0 ]] || usage_error "$command needs a NAME, or --all"
  if [[ $1 == --all ]]; then
    bed_nodes
    return
  fi
  for name in "$@"; do
    need_node "$name"
    printf '%s\n' "$name"
  done
}

# A process is known by its id, its start time and the boot it lives in.
owner_mark() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  read -ra stat <<<"${stat##*) }"
  printf '%s %s %s\n' "$1" "${stat[19]}" "$(cat /proc/sys/kernel/random/boot_id)"
}

# Beds of test processes that were killed before they could clean up.
remove_orphaned_beds() {
  local file mark
  for file in "$STATE"/*/owner; do
    [[ -s $file ]] || continue
    mark=$(cat "$file" 2>/dev/null) || continue
    [[ -n $mark ]] || continue
    [[ $mark != "$(owner_mark "${mark%% *}")" ]] || continue
    say "removing the bed '$(basename "$(dirname "$file")")': the process that it belonged to has ended"
    ARCHY_BED=$(basename "$(dirname "$file")") "$HERE/node" rm --all || true
  done
}

command_pid() {
  need_node "${1:-}"
  pid1 "$1" || die "the node '$1' is off; \`node start $1\` boots it"
  echo
}

command_list() {
  local bed
  case ${1:-} in
    "") list_bed ;;
    --beds)
      for bed in "$STATE"/*/subnet; do
        [[ -e $bed ]] || continue
        BED=$(basename "$(dirname "$bed")")
        printf '%s\t%s.%s.0/24\n' "$BED" "$SUBNETS" "$(subnet)"
        list_bed | sed 's/^/  /'
      done ;;
    *) usage_error "list does not know '$1'" ;;
  esac
}

list_bed() {
  local name power link
  for name in $(bed_nodes); do
    power=off link="plugged"
    if is_ready "$name"; then power=up; elif has_processes "$name"; then power=busy; fi
    [[ -e $(node_dir "$name")/cut ]] && link="cut"
    printf '%s\t%s\t%s\t%s\n' "$name" "$power" "$(address "$name")" "$link"
  done
}
