# shellcheck shell=bash
# Checks this host, changing nothing, and says what to do.

command_doctor() {
  failures=0
  check "Debian or Ubuntu" "this script knows only hosts with apt" command -v apt-get
  local tool
  for tool in debootstrap systemd-nspawn ip tc nsenter unshare setpriv setsid flock; do
    check "$tool" "run scripts/host-deps.sh" command -v "$tool"
  done
  check "cgroup v2 is mounted" "boot with systemd.unified_cgroup_hierarchy=1, or: mount -t cgroup2 none /sys/fs/cgroup" has_cgroup2
  check "cgroup v2 can kill a whole group" "a kernel from 5.14 on is needed" has_cgroup_kill
  check "/dev/net/tun" "modprobe tun" test -e /dev/net/tun
  check "user namespaces for plain users" "sysctl -w user.max_user_namespaces=28633 kernel.unprivileged_userns_clone=1" has_user_namespaces
  check "bridges and veth pairs" "modprobe bridge veth" can_bridge
  check "$STATE can carry disks" "set ARCHY_NODE_STATE to a folder on ext4, xfs or btrfs" can_carry_disks
  check "5 GB free below $STATE" "make room, or set ARCHY_NODE_STATE to a larger disk" has_room
  check "plain users' namespaces are not held back by AppArmor" "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" apparmor_lets_through
  if [[ -d $(base_path) ]]; then
    report "ok    the base system is built: $(base_path)"
  else
    report "note  the base system is not built yet; the first \`node up\` does it"
  fi
  old_bases
  [[ $failures -eq 0 ]] || die "$failures checks failed; the lines above say what to do"
}

report() { printf '%s\n' "$*"; }

check() {
  local what=$1 advice=$2
  shift 2
  if "$@" >/dev/null 2>&1; then
    report "ok    $what"
  else
    failures=$((failures + 1))
    report "FAIL  $what: $advice"
  fi
}

has_cgroup2() { [[ -n $(cgroup2) ]]; }
has_room() { [[ $(df --output=avail -k "$(existing_parent "$STATE")" | tail -n 1) -gt 5000000 ]]; }
can_carry_disks() { [[ ! $(stat -f -c %T "$(existing_parent "$STATE")") =~ ^(tmpfs|ramfs|overlayfs|nfs|fuse.*)$ ]]; }
has_user_namespaces() {
  [[ $(cat /proc/sys/user/max_user_namespaces) -gt 100 && $(cat /proc/sys/kernel/unprivileged_userns_clone 2>/dev/null || echo 1) == 1 ]]
}
apparmor_lets_through() { [[ $(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null || echo 0) == 0 ]]; }

has_cgroup_kill() {
  local group found=1
  group=$(cgroup2)/archy-doctor-$$
  mkdir "$group" && { [[ ! -e $group/cgroup.kill ]] || found=0; rmdir "$group"; }
  return "$found"
}

can_bridge() {
  unshare --net -- sh -euc 'ip link add b0 type bridge; ip link add v0 type veth peer name v1; ip link set v0 master b0'
}

existing_parent() {
  local path=$1
  while [[ ! -d $path ]]; do path=$(dirname "$path"); done
  printf '%s' "$path"
}

old_bases() {
  local base used
  used=$(readlink "$STATE"/*/*/base 2>/dev/null || true)
  for base in "$CACHE"/base-*; do
    [[ -d $base && $base != "$(base_path)" ]] || continue
    grep -qxF "$base" <<<"$used" ||
      report "note  an old base system that no node uses: rm -r $base"
  done
}
