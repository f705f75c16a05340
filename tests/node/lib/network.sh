# shellcheck shell=bash
# One bridge per bed, one network namespace and one cable per machine. Nothing leads out of the bridge.

SUBNETS=10.213 # each bed has one /24 of it

bridge() { printf 'archy%s' "$(subnet)"; }
subnet() { cat "$(bed_dir)/subnet"; }
number() { cat "$(node_dir "$1")/number"; }
host_address() { printf '%s.%s.1' "$SUBNETS" "$(subnet)"; }
address() { printf '%s.%s.%s' "$SUBNETS" "$(subnet)" "$(number "$1")"; }
cable() { printf 'archy%s-%s' "$(subnet)" "$(number "$1")"; }
netns() { printf 'archy-%s.%s' "$BED" "$1"; }
# Fixed, so that a machine which comes back is found again at once.
hardware_address() { printf '02:61:79:%02x:%02x:%02x' "$(subnet)" 0 "$(number "$1")"; }

# Makes the bed's bridge, or puts it right. Call it with the bed's lock held.
network_up() {
  local br gateway
  claim_subnet
  br=$(bridge)
  gateway=$(host_address)
  ip link show "$br" >/dev/null 2>&1 || ip link add "$br" type bridge
  # Without snooping every node hears multicast (mDNS) at once.
  ip link set "$br" up type bridge mcast_snooping 0 stp_state 0 forward_delay 0
  ip address replace "$gateway/24" dev "$br"
  # Whatever a node sends to the world beyond is refused right away, not swallowed.
  echo 1 >"/proc/sys/net/ipv4/conf/$br/forwarding"
  [[ -n $(ip rule show iif "$br") ]] || ip rule add pref 100 iif "$br" unreachable
  let_nodes_talk "$br" -I
}

network_down() {
  local br
  [[ -e $(bed_dir)/subnet ]] || return 0
  br=$(bridge)
  let_nodes_talk "$br" -D
  ip rule del pref 100 iif "$br" unreachable 2>/dev/null || true
  ip link del "$br" 2>/dev/null || true
  rm -f "$RUN/subnets/$(subnet)"
}

# Where bridged packets pass the host's firewall (Docker switches that on and drops them), ask it to let them pass.
let_nodes_talk() {
  local br=$1 change=$2
  [[ $(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null) == 1 ]] || return 0
  command -v iptables >/dev/null || return 0
  if iptables -C FORWARD -i "$br" -o "$br" -j ACCEPT 2>/dev/null; then
    [[ $change == -I ]] || iptables -D FORWARD -i "$br" -o "$br" -j ACCEPT
  elif [[ $change == -I ]]; then
    iptables -I FORWARD -i "$br" -o "$br" -j ACCEPT 2>/dev/null || true
  fi
}

# Each bed keeps its subnet; a new one starts looking at a place that follows from its name.
claim_subnet() {
  with_lock subnets claim_subnet_locked
}

claim_subnet_locked() {
  local file want offset candidate
  file=$(bed_dir)/subnet
  mkdir -p "$RUN/subnets" "$(bed_dir)"
  want=$(cat "$file" 2>/dev/null || echo $((16#$(printf '%s' "$BED" | sha256sum | cut -c1-6) % 254 + 1)))
  for offset in {0..253}; do
    candidate=$(((want - 1 + offset) % 254 + 1))
    subnet_is_ours_to_take "$candidate" || continue
    write_once "$RUN/subnets/$candidate" "$(bed_dir)"
    write_once "$file" "$candidate"
    return
  done
  die "every subnet of $SUBNETS.0.0/16 is taken on this host; \`node list --beds\` shows beds that \`ARCHY_BED=… node rm --all\` can remove"
}

# Others read these files at any time, without a lock: they never see one half written.
write_once() {
  local file=$1 text=$2
  [[ $(cat "$file" 2>/dev/null) != "$text" ]] || return 0
  printf '%s' "$text" >"$file.new.$BASHPID"
  mv "$file.new.$BASHPID" "$file"
}

subnet_is_ours_to_take() {
  local candidate=$1 holder others
  holder=$(cat "$RUN/subnets/$candidate" 2>/dev/null || true)
  [[ -z $holder || $holder == "$(bed_dir)" || ! -d $holder ]] || return 1
  others=$(ip -4 -o address show to "$SUBNETS.$candidate.0/24" | grep -v " archy$candidate " || true)
  [[ -z $others ]]
}

# Gives a machine a fresh network: a namespace with one cable to the bridge, unplugged if it was cut.
attach() {
  local name=$1 ns cable
  ns=$(netns "$name")
  cable=$(cable "$name")
  detach "$name"
  ip netns add "$ns"
  ip link add "$cable" mtu 1500 type veth peer name eth0 mtu 1500 address "$(hardware_address "$name")" netns "$ns"
  ip -n "$ns" link set lo up
  ip -n "$ns" address add "$(address "$name")/24" broadcast + dev eth0
  ip -n "$ns" link set eth0 up
  ip -n "$ns" route add default via "$(host_address)"
  ip link set "$cable" master "$(bridge)"
  plug "$name"
  apply_shape "$name"
}

detach() {
  ip link del "$(cable "$1")" 2>/dev/null || true
  ip netns del "$(netns "$1")" 2>/dev/null || true
}

# The cable's state outlives reboots and power cuts: the file `cut` in the node's folder says that it is out.
plug() {
  local state=up
  [[ -e $(node_dir "$1")/cut ]] && state=down
  ip link set "$(cable "$1")" "$state"
}

unplug_now() { ip link set "$(cable "$1")" down 2>/dev/null || true; }

apply_shape() {
  local rate file
  file=$(node_dir "$1")/shape
  tc qdisc del dev "$(cable "$1")" root 2>/dev/null || true
  ip netns exec "$(netns "$1")" tc qdisc del dev eth0 root 2>/dev/null || true
  [[ -e $file ]] || return 0
  rate=$(cat "$file")
  tc qdisc add dev "$(cable "$1")" root tbf rate "$rate" burst 64kb latency 50ms
  ip netns exec "$(netns "$1")" tc qdisc add dev eth0 root tbf rate "$rate" burst 64kb latency 50ms
}

command_cut() { change_cable cut "$@"; }
command_join() { change_cable join "$@"; }

change_cable() {
  local change=$1 name file
  shift
  [[ $# -gt 0 ]] || usage_error "$change needs a NAME"
  for name in "$@"; do
    need_node "$name"
    file=$(node_dir "$name")/cut
    if [[ $change == cut ]]; then touch "$file"; else rm -f "$file"; fi
    is_on "$name" || continue
    plug "$name"
  done
}

command_shape() {
  local name=${1:-} rate=${2:-}
  [[ -n $name && $rate =~ ^([0-9]+[kmg]bit|off)$ ]] || usage_error "shape needs a NAME and a rate such as 20mbit, or off"
  need_node "$name"
  if [[ $rate == off ]]; then
    rm -f "$(node_dir "$name")/shape"
  else
    printf '%s\n' "$rate" >"$(node_dir "$name")/shape"
  fi
  ! is_on "$name" || apply_shape "$name"
}

command_ip() {
  need_node "${1:-}"
  printf '%s\n' "$(address "$1")"
}

command_url() {
  need_node "${1:-}"
  [[ ${2:-8480} =~ ^[0-9]{1,5}$ ]] || usage_error "'$2' is no port"
  printf 'http://%s:%s\n' "$(address "$1")" "${2:-8480}"
}
