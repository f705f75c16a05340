# Sourced by the scripts beside it: claims about a node, and what they have in common. DRIVE, HERE, UNITS and APPS are set.
# shellcheck shell=bash disable=SC2034
set -u
HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
WORK=${WORK:-$(mktemp -d)}
UNITS=$HOME/.config/containers/systemd/archy
APPS=$HOME/.local/share/archy/apps
failures=0
cd "$WORK" || exit 2

claim() { # TEXT COMMAND…
  local text=$1 said
  shift
  if said=$("$@" 2>&1); then
    echo "ok    $text"
  else
    echo "FAIL  $text"
    echo "$said" | sed 's/^/      /'
    failures=$((failures + 1))
  fi
}
says() { # WORDS COMMAND…: the command's output has the words, whatever its exit code
  local words=$1 said
  shift
  said=$("$@" 2>&1)
  grep -qF -- "$words" <<<"$said" || { echo "$said"; return 1; }
}
quiet() { # COMMAND…: succeeds and plans nothing
  local said
  said=$("$DRIVE" reconcile 2>&1) || { echo "$said"; return 1; }
  [[ $(wc -l <<<"$said") -eq 1 ]] || { echo "$said"; return 1; }
}
refuted() { ! "$@"; }
page_answers() { curl -sf -m 5 http://127.0.0.1:18080/ | grep -q '<h1>hi</h1>'; }
container() { podman ps -q --no-trunc --filter "name=^$1\$"; }
running() { [[ -n $(container "$1") ]]; }
leftovers() { # APP: everything of it but its directory
  systemctl --user list-units --all "archy.$1.*" "archy.$1-*" --no-legend --no-pager
  podman ps -a --format '{{.Names}}' | grep -E "^$1(-|\$)"
  podman network ls --format '{{.Name}}' | grep -x "archy.$1"
  podman volume ls -q | grep "^archy.$1\."
  podman secret ls --format '{{.Name}}' | grep "^archy.$1\."
  podman images --format '{{.Repository}}' | grep "/archy/$1/"
  ls -d "$UNITS/$1" "$HOME/.config/containers/archy-staging/$1" 2>/dev/null
}
none_left() { local found; found=$(leftovers "$1"); [[ -z $found ]] || { echo "$found"; return 1; }; }
no_directory() { [[ ! -e $APPS/$1 ]] || { find "$APPS/$1"; return 1; }; }
install_page() { "$DRIVE" install "$1" web=layout; }
install_stack() { "$DRIVE" install "$HERE/stack.yml" web=layout db=layout; }
holder() { busybox nc -ll -p "$1" -e /bin/true & HOLDER=$!; until (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; do :; done; }
release_port() { kill "$HOLDER"; wait "$HOLDER" 2>/dev/null; }
wait_for() { # COMMAND…: within 30 s
  local deadline=$((SECONDS + 30))
  until "$@"; do [[ $SECONDS -lt $deadline ]] || return 1; done
}

make_image() {
  mkdir -p context/data context/www && cp "$(command -v busybox)" context/busybox
  echo seed >context/data/index.html && echo '<h1>hi</h1>' >context/www/index.html
  cat >context/Containerfile <<'TEXT'
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
COPY www /www
COPY --chown=999:999 data /var/lib/db
ENTRYPOINT ["/bin/busybox"]
TEXT
  podman build -q -t localhost/contract:latest context && podman save -q --format oci-dir -o layout localhost/contract:latest
  podman rmi -f localhost/contract:latest
}
