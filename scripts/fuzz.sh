#!/usr/bin/env bash
# Fuzzes every reader of what strangers send, one target after the other, SECONDS each (default 60), and keeps the
# few inputs that reach most of the code in fuzz/corpus, where the tests replay them. With 0 SECONDS it only picks those
# anew. A crash ends the run and stays in target/fuzz/crashes. Needs a C++ compiler (make deps).
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

# What is committed of each target's corpus: 10 targets, 200 files and their seeds, 1 MiB.
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

# Keeps in the committed corpus, beside the seeds, the inputs that reach most of the code together: again and again the
# one that adds most to what the others reach.
keep() {
  local target=$1 least=$built/least/$1 reached=$built/least/$1.txt index
  rm -rf "$least" "$reached"
  mkdir -p "$least"
  "$(binary_of "$target")" -set_cover_merge=1 -merge_control_file="$reached" -rss_limit_mb=2048 \
    "$least" "fuzz/corpus/$target" "$work/$target" 2>/dev/null
  mapfile -t files < <(sed -n '3,/^STARTED/p' "$reached" | grep -v '^STARTED')
  mkdir "$least/kept"
  while read -r index; do
    cp "${files[index]}" "$least/kept/$(basename "${files[index]}" | cut -c1-16)"
  done < <(awk -v files_max="$files_max" -v bytes_max="$bytes_max" '
    $1 == "STARTED" { size[$2] = $3 }
    $1 == "FT" { features[$2] = $0 }
    END {
      while (kept++ < files_max) {
        best = -1; most = 0
        for (file in features) {
          if (bytes + size[file] > bytes_max) continue
          count = split(features[file], feature, " "); adds = 0; left = ""
          for (i = 3; i <= count; i++) if (!(feature[i] in known)) { adds++; left = left " " feature[i] }
          features[file] = "FT " file left
          if (adds > most || (adds == most && best != -1 && size[file] < size[best])) { best = file; most = adds }
        }
        if (best == -1) exit
        count = split(features[best], feature, " ")
        for (i = 3; i <= count; i++) known[feature[i]]
        bytes += size[best]; delete features[best]
        print best
      }
    }' "$reached")
  find "fuzz/corpus/$target" -type f ! -name 'seed*' -delete
  mv "$least"/kept/* "fuzz/corpus/$target/"
}

for target in "${targets[@]}"; do
  mkdir -p "$work/$target"
  export ARCHY_FUZZ_TARGET=$target
  if ((seconds == 0)); then
    keep "$target"
    continue
  fi
  printf '== %s: %s s from %s\n' "$target" "$seconds" "$(date -u +%FT%TZ)"
  "$(binary_of "$target")" -max_total_time="$seconds" -max_len=24576 -timeout=20 -rss_limit_mb=2048 \
    -dict="fuzz/dictionary" -artifact_prefix="$crashes/$target-" -print_final_stats=1 -verbosity=1 \
    "$work/$target" "fuzz/corpus/$target" 2>&1 | grep --line-buffered -E 'INITED|pulse|DONE|stat::|panicked|assert|ERROR|SUMMARY|Test unit'
  keep "$target"
done
printf '== no crash; the corpus has %s files, %s bytes\n' "$(find fuzz/corpus -type f | wc -l)" \
  "$(find fuzz/corpus -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')"
