#!/usr/bin/env bash
# Installs what building and testing archy needs on Debian or Ubuntu, with apt. Does nothing where all is there.
# With the word bench also what the swarm is compared with; with the word vm also what emulates a machine.
set -euo pipefail

# For the build: the C compiler is for SQLite and zstd, protoc for generated code.
build=(gcc libc6-dev pkg-config protobuf-compiler git make)
# For the test node: real Debian machines on this host (tests/node/README.md).
node=(debootstrap debian-archive-keyring systemd-container iproute2 util-linux e2fsprogs kmod procps)
# For the images of the apps (apps/build).
images=(buildah crun)
# For the tests themselves.
tests=(busybox-static restic skopeo sqlite3 strace zstd tar curl ca-certificates shellcheck fonts-liberation python3-pip)

# For `make bench-swarm`: what people use instead.
rivals=(podman docker-registry aria2 mktorrent)
# For `make vm`: the emulator, its disks, the way in.
machine=(qemu-system-x86 qemu-utils openssh-client binutils)
case ${1-} in
  bench) tests+=("${rivals[@]}") ;;
  vm) tests+=("${machine[@]}") ;;
esac

say() { printf 'host-deps: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

is_installed() { [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# On Ubuntu the browser is a snap, which the package chromium-browser brings in.
browser() {
  local program
  for program in chromium chromium-browser google-chrome google-chrome-stable; do
    ! command -v "$program" >/dev/null || return 0
  done
  if grep -qs '^ID=ubuntu$' /etc/os-release; then echo chromium-browser; else echo chromium; fi
}

missing() {
  local package
  for package in "${build[@]}" "${node[@]}" "${images[@]}" "${tests[@]}"; do
    is_installed "$package" || printf '%s\n' "$package"
  done
  browser
}

as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  else
    command -v sudo >/dev/null || die "needs root: run it as root, or install sudo"
    sudo "$@"
  fi
}

main() {
  local packages
  command -v apt-get >/dev/null || die "knows Debian and Ubuntu only; install the like of: ${build[*]} ${node[*]} ${images[*]} ${tests[*]} chromium"
  mapfile -t packages < <(missing)
  if [[ ${#packages[@]} -eq 0 ]]; then
    say "all is there"
    return
  fi
  as_root apt-get update -q
  # Twice at most: where a part of qemu is there from another release, apt removes it for the sake of the others.
  local _try
  for _try in 1 2; do
    say "installing: ${packages[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${packages[@]}"
    mapfile -t packages < <(missing)
    [[ ${#packages[@]} -gt 0 ]] || break
  done
  say "done"
}

main "$@"
