#!/usr/bin/env bash
# Fuzzes every reader of what strangers send, one target after the other, SECONDS each (default 60), and keeps the
# smallest inputs that reach all the code in fuzz/corpus, where the tests replay them. A crash ends the run and stays in
# target/fuzz/crashes. Needs a C++ compiler (make deps).
#
#   scripts/fuzz.sh [SECONDS] [TARGET…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
shift || true
registry=(names json manifest key_state key_chain announcement release catalog)
nostr=(message event)
targets=("$@")
((${#targets[@]})) || targets=("${registry[@]}" "${nostr[@]}")

# What is committed of each target's corpus: 9 targets, 200 files, 1 MiB.
files_max=20
bytes_max=$((96 * 1024))

built=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
work=$built/corpus
crashes=$built/crashes
mkdir -p "$crashes"

host=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_WRAPPER=$PWD/fuzz/rustc.sh cargo build --quiet --locked --release --features nostr --target "$host" \
  --manifest-path fuzz/Cargo.toml --target-dir "$built"
binaries=$built/$host/release
ARCHY_FUZZ_SEEDS=1 ARCHY_FUZZ_TARGET=names "$binaries/registry" -runs=0 >"$built/seeds.log" 2>&1

# The binary that has a target.
binary_of() {
  local name
  for name in "${nostr[@]}"; do
    [[ $name == "$1" ]] && printf '%s/nostr' "$binaries" && return
  done
  printf '%s/registry' "$binaries"
}

# Copies what reaches new code to the committed corpus, small inputs first, beside the seeds.
keep() {
  local target=$1 least=$built/least/$1 count=0 bytes=0 size file
  rm -rf "$least"
  mkdir -p "$least"
  "$(binary_of "$target")" -set_cover_merge=1 -rss_limit_mb=2048 "$least" "fuzz/corpus/$target" "$work/$target" 2>/dev/null
  find "fuzz/corpus/$target" -type f ! -name 'seed*' -delete
  while read -r size file; do
    count=$((count + 1))
    bytes=$((bytes + size))
    ((count <= files_max && bytes <= bytes_max)) || break
    cp "$least/$file" "fuzz/corpus/$target/$(cut -c1-16 <<<"$file")"
  done < <(find "$least" -type f -printf '%s %f\n' | sort -n)
}

for target in "${targets[@]}"; do
  mkdir -p "$work/$target"
  printf '== %s: %s s from %s\n' "$target" "$seconds" "$(date -u +%FT%TZ)"
  export ARCHY_FUZZ_TARGET=$target
  "$(binary_of "$target")" -max_total_time="$seconds" -max_len=24576 -timeout=20 -rss_limit_mb=2048 \
    -dict="fuzz/dictionary" -artifact_prefix="$crashes/$target-" -print_final_stats=1 -verbosity=1 \
    "$work/$target" "fuzz/corpus/$target" 2>&1 | grep --line-buffered -E 'INITED|pulse|DONE|stat::|panicked|assert|ERROR|SUMMARY|Test unit'
  keep "$target"
done
printf '== no crash; the corpus has %s files, %s bytes\n' "$(find fuzz/corpus -type f | wc -l)" \
  "$(find fuzz/corpus -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')"
