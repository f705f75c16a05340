# shellcheck shell=bash
# The base system that all machines share, read-only: built once per recipe, then found in the cache.

SUITE=trixie
RECIPE=$HERE/base

recipe_hash() {
  { printf '%s %s\n' "$SUITE" "$(dpkg --print-architecture)"
    find "$RECIPE" -type f | LC_ALL=C sort | while read -r file; do printf '%s\n' "${file#"$RECIPE"}"; cat "$file"; done
  } | sha256sum | cut -c1-12
}

base_path() { printf '%s/base-%s' "$CACHE" "$(recipe_hash)"; }

ensure_base() {
  local base
  base=$(base_path)
  [[ -d $base ]] || with_lock base build_base "$base"
}

command_base() {
  ensure_base
  base_path
  echo
}

build_base() {
  local base=$1 building
  [[ -d $base ]] && return
  command -v debootstrap >/dev/null || die "debootstrap is missing: run scripts/host-deps.sh"
  mkdir -p "$CACHE"
  rm -rf --one-file-system "$CACHE"/building.*
  building=$(mktemp -d "$CACHE/building.XXXXXX")
  say "building the base system (about a minute, once): $base"
  if ! build_in "$building" >"$CACHE/build.log" 2>&1; then
    tail -n 20 "$CACHE/build.log" >&2
    die "the base system could not be built; the whole story is in $CACHE/build.log"
  fi
  mv -T "$building" "$base"
}

# In a mount namespace of its own: whatever debootstrap mounts is gone with it, however it ends.
build_in() {
  export_apt_proxy
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount --propagation slave -- bash -euc '
    root=$1 suite=$2 recipe=$3 mirror=$4
    chmod 0755 "$root"
    debootstrap --variant=minbase --include="$(grep -v "^#" "$recipe/packages" | paste -sd,)" "$suite" "$root" $mirror
    cp -r "$recipe/files/." "$root/"
    chmod -R go+rX "$root/etc"
    cp "$recipe/setup.sh" "$root/setup.sh"
    chroot "$root" /bin/sh -eu /setup.sh
    rm "$root/setup.sh"
  ' build "$1" "$SUITE" "$RECIPE" "$(debian_mirror)"
}

# The mirror this host itself uses for Debian; nothing where there is none, and debootstrap takes its default.
debian_mirror() {
  apt-get indextargets --format "\$(REPO_URI)" "Created-By: Packages" "Label: Debian" 2>/dev/null | head -n 1
}

export_apt_proxy() {
  local proxy=
  eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null)"
  [[ -z $proxy || $proxy == DIRECT ]] || export http_proxy=$proxy
}
