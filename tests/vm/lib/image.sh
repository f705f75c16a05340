# shellcheck shell=bash
# The disk that all machines start from: the test node's base system with a kernel. Made once per recipe, then found in the
# cache, never written again.

image_path() {
  local base
  base=$("$NODE/node" base 2>/dev/null | tail -n 1)
  [[ -d $base ]] || die "the test node's base system could not be built; $NODE/node base says why"
  local hash
  hash=$({ echo "$base"; cat "$HERE"/image/*; cat "$HERE/lib/image.sh"; } | sha256sum | cut -c1-12)
  printf '%s %s/vm-%s\n' "$base" "$CACHE" "$hash"
}

# Sets IMAGE.
ensure_image() {
  local base
  read -r base IMAGE < <(image_path)
  [[ -e $IMAGE/disk ]] || with_lock vm-image build_image "$base" "$IMAGE"
}

build_image() {
  local base=$1 image=$2 building
  [[ ! -e $image/disk ]] || return 0
  [[ $(dpkg --print-architecture) == amd64 ]] || die "the virtual machine is made for amd64 only"
  rm -rf --one-file-system "$CACHE"/vm-building.*
  building=$(mktemp -d "$CACHE/vm-building.XXXXXX")
  chmod 0700 "$building"
  say "making the virtual machine's disk (a minute or two, once): $image"
  if ! nice -n 15 bash -c "$(declare -f export_apt_proxy build_image_in); build_image_in \"\$@\"" build "$base" "$building" "$HERE/image" \
    >"$CACHE/vm-build.log" 2>&1; then
    tail -n 20 "$CACHE/vm-build.log" >&2
    die "the virtual machine's disk could not be made; the whole story is in $CACHE/vm-build.log"
  fi
  mv -T "$building" "$image"
}

# In a mount namespace of its own: the copy of the base system is an overlay that goes with it.
build_image_in() {
  set -e
  export_apt_proxy
  ssh-keygen -q -t ed25519 -N '' -C archy-vm -f "$2/key"
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount --propagation private -- bash -euc '
    base=$1 image=$2 recipe=$3
    mkdir -p "$image/root" "$image/over"
    mount -t tmpfs -o mode=0755 none "$image/over"
    mkdir "$image/over/upper" "$image/over/work"
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$image/over/upper,workdir=$image/over/work" "$image/root"
    root=$image/root
    mount --bind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    chroot "$root" useradd --help >/dev/null
    mkdir -p "$root/home/archy"
    cp -r "$root/etc/skel/." "$root/home/archy/"
    cp "$image/key.pub" "$root/key.root"
    cp "$image/key.pub" "$root/key.archy"
    cp "$recipe/setup.sh" "$root/setup.sh"
    cp "$recipe/init" "$root/init"
    cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
    chroot "$root" /bin/sh -eu /setup.sh
    rm "$root/setup.sh"
    umount "$root/proc" "$root/dev"
    mv "$root/boot/vmlinuz" "$root/boot/initrd" "$image/"
    rm -rf "$root"/boot/*
    mkfs.ext4 -q -F -L root -E lazy_itable_init=1,lazy_journal_init=1 -d "$root" "$image/disk.new" 6G
  ' build "$1" "$2" "$3"
  rmdir "$2/root" "$2/over"
  mv "$2/disk.new" "$2/disk"
  chmod 0444 "$2/disk"
}
