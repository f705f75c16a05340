#!/usr/bin/env bash
# Runs one machine until it powers off: puts its disk together, boots it, and boots it again when it reboots.
# It starts in a mount namespace of its own, so every mount ends with it.
set -euo pipefail

dir=$1 host_name=$2 machine=$3 netns=$4
REBOOT=133 # systemd-nspawn's way to ask for the next boot

# Locks and pipes of the command that started us must not live on in here.
close_inherited_files() {
  local file fd
  for file in /proc/self/fd/*; do
    fd=${file##*/}
    [[ $fd -le 2 || $fd -eq 255 ]] || eval "exec $fd>&-"
  done
}

cgroup2() { awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts; }

# All of a machine's processes are in one cgroup of its own: below it, this keeper, and each boot of the machine.
# Under a host's systemd we were started in a delegated scope; elsewhere we make the cgroup ourselves.
enter_cgroup() {
  local bed
  bed=$(basename "$(dirname "$dir")")
  if [[ ! -d /run/systemd/system ]]; then
    join_cgroup "$(cgroup2)/archy/$bed/$host_name"
    # A host with the old hierarchies beside it: two machines must not share a place in systemd's own one either.
    [[ ! -d /sys/fs/cgroup/systemd ]] || join_cgroup "/sys/fs/cgroup/systemd/archy/$bed/$host_name"
  fi
  cgroup=$(sed -n 's/^0:://p' /proc/self/cgroup)
  cgroup_dir=$(cgroup2)$cgroup
  join_cgroup "$cgroup_dir/keeper"
  local controllers controller
  read -ra controllers <"$cgroup_dir/cgroup.controllers" || true
  for controller in "${controllers[@]}"; do
    echo "+$controller" >"$cgroup_dir/cgroup.subtree_control" || true
  done
}

join_cgroup() {
  mkdir -p "$1"
  echo "$BASHPID" >"$1/cgroup.procs"
}

boot() {
  printf '\n== boot %s\n' "$(date -u +%FT%TZ)"
  find "$cgroup_dir/machine" -depth -type d -exec rmdir {} + 2>/dev/null || true
  (
    join_cgroup "$cgroup_dir/machine"
    exec systemd-nspawn --quiet --boot --directory="$dir/root" --machine="$machine" --hostname="$host_name" \
      --settings=no --register=no --keep-unit --private-users=no --capability=all \
      --system-call-filter='@keyring bpf @known' --network-namespace-path="$netns" \
      --resolv-conf=off --timezone=off --link-journal=no --console=read-only \
      --bind="$dir/home:/home" --bind=/dev/net/tun "${devices[@]}"
  )
}

main() {
  close_inherited_files
  enter_cgroup
  printf '%s' "$cgroup" >"$dir/cgroup"
  export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
  # netavark writes to /proc/sys/net.
  export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
  devices=()
  [[ ! -e /dev/fuse ]] || devices=(--bind=/dev/fuse)
  mount -t overlay overlay -o "lowerdir=$dir/base/,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
  local code
  while :; do
    code=0
    boot || code=$?
    [[ $code -eq $REBOOT ]] || exit "$code"
  done
}

main
