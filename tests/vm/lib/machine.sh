# shellcheck shell=bash
# One virtual machine: its disk, its power, the ways in. Its disk writes through to the host only what the guest's kernel
# has written, and what the guest wants to be sure of it has to flush: a killed emulator is a power cut.

BOOT_S=300

# The processor is one that emulators know well. Without cx16: the emulator of Debian 12 gets that instruction wrong.
machine_start() {
  local tries=0
  while :; do
    PORT=$((20000 + SRANDOM % 20000))
    # shellcheck disable=SC2086 # ACCEL may hold options
    nice -n 15 qemu-system-x86_64 -accel "$ACCEL" -cpu "$CPU" -smp 2 -m 2048 \
      -nodefaults -no-user-config -display none -no-reboot -rtc base=utc \
      -kernel "$IMAGE/vmlinuz" -initrd "$IMAGE/initrd" -append "console=ttyS0 quiet panic=-1" \
      -chardev "file,id=console,path=$DIR/console.log,append=on" -serial chardev:console \
      -drive "file=$DIR/disk,if=none,id=disk,format=qcow2,cache=none,discard=unmap" \
      -device virtio-blk-pci,drive=disk,write-cache=on \
      -netdev "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:$PORT-:22" -device virtio-net-pci,netdev=net,romfile= \
      -device virtio-rng-pci </dev/null >>"$DIR/qemu.log" 2>&1 &
    QEMU=$!
    if machine_is_up; then return 0; fi
    tail -n 3 "$DIR/qemu.log" >&2
    ((++tries < 3)) || die "the virtual machine does not come up; see $DIR/console.log and $DIR/qemu.log"
    machine_cut
  done
}

machine_is_up() {
  local deadline=$((SECONDS + BOOT_S)) ready='until [ "$(systemctl --user is-active podman.socket)" = active ]; do sleep 0.2; done'
  until guest "$ready" 2>/dev/null; do
    kill -0 "$QEMU" 2>/dev/null || return 1
    ((SECONDS < deadline)) || return 1
    sleep 0.5
  done
}

# Everything of it is gone at once but what its disk has.
machine_cut() {
  kill -9 "$QEMU" 2>/dev/null || true
  wait "$QEMU" 2>/dev/null || true
  local user
  for user in archy root; do ssh "${SSH[@]}" -O exit "$user@127.0.0.1" 2>/dev/null || true; done
  rm -f "$DIR"/ssh-*
}

machine_off() {
  guest_root 'systemctl poweroff' || true
  wait "$QEMU" 2>/dev/null || true
  machine_cut
}

machine_create() { # [KEPT]
  mkdir -p "$DIR"
  rm -f "$DIR"/{console.log,qemu.log,ssh-*}
  if [[ -z $1 ]]; then
    rm -f "$DIR"/{disk,prepared}
    qemu-img create -q -f qcow2 -b "$IMAGE/disk" -F raw "$DIR/disk"
  fi
  SSH=(-i "$IMAGE/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes
    -o KexAlgorithms=curve25519-sha256 -o ConnectTimeout=30 -o ControlMaster=auto -o ControlPersist=yes
    -o "ControlPath=$DIR/ssh-%r")
}

guest() { ssh "${SSH[@]}" -p "$PORT" archy@127.0.0.1 "$@" </dev/null; }
guest_root() { ssh "${SSH[@]}" -p "$PORT" root@127.0.0.1 "$@" </dev/null; }
push() { # FOLDER TO: what is in the folder
  tar -C "$1" --owner=1000 --group=1000 -c . | ssh "${SSH[@]}" -p "$PORT" archy@127.0.0.1 "mkdir -p $2 && tar -C $2 -x"
}
