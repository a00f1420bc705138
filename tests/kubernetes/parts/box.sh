# The box: namespaces in which every process of the cluster lives, its mounts and its networks with it. When the
# first process in there ends, the kernel ends all of it, so nothing that crashes can leave any of it behind.
# shellcheck shell=bash disable=SC2154

# A process by its id and start, which together no other process ever has.
process_is() {
    local stat
    read -r stat 2> /dev/null < "/proc/$1/stat" || return 1
    local -a fields
    read -r -a fields <<< "${stat##*) }"
    echo "$1 ${fields[19]}"
}
is_process() { # FILE with what process_is said
    local pid started
    read -r pid started 2> /dev/null < "$1" && [ "$(process_is "$pid")" = "$pid $started" ]
}

is_up() { is_process "$state/box"; }
box_pid() { local pid rest; read -r pid rest < "$state/box"; echo "$pid"; }

# nsenter, because `ip netns exec` would mount a /sys without cgroups.
inside() { nsenter --target "$(box_pid)" --mount --pid --net --uts --ipc --wdns="$PWD" -- "$@"; }
inside_node() { # N COMMAND...
    local n=$1; shift
    [[ " ${nodes[*]} " == *" $n "* ]] || die "there is no node$n"
    inside nsenter --net="/run/netns/node$n" --wdns="$PWD" -- "$@"
}

wait_for() { # SECONDS WHAT COMMAND...
    local what=$2 end=$((SECONDS + $1)) seconds=$1; shift 2
    until "$@" > /dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "no $what within $seconds s"
        sleep 0.1
    done
}

open_box() {
    setsid unshare --mount --pid --net --uts --ipc --fork "$here/cluster" box > "$state/log/box.log" 2>&1 < /dev/null &
    disown
    wait_for 20 "network" test -e "$state/box.ready"
}

close_box() {
    is_up || return 0
    local pid
    pid=$(box_pid)
    kill -KILL "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.05; done
}

# ---- inside ----

box() {
    # This /proc is still the machine's, where this process has the id by which others find it.
    local pid
    read -r pid _ < /proc/self/stat
    process_is "$pid" > "$state/box.new" && mv "$state/box.new" "$state/box"
    mount -t proc proc /proc
    hostname "$cluster"
    local directory
    for directory in /run/netns /run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers /var/log/pods; do
        made_for_box "$directory"
        mount -t tmpfs tmpfs "$directory"
    done
    networks
    touch "$state/box.ready"
    sleep infinity &
    wait $!
}

# Mount points that the machine lacked are removed when the last cluster goes.
made_for_box() {
    local path=$1 missing=()
    while [ ! -d "$path" ]; do missing+=("$path"); path=$(dirname "$path"); done
    [ ${#missing[@]} = 0 ] || printf '%s\n' "${missing[@]}" >> "$clusters/directories"
    mkdir -p "$1"
}

networks() {
    ip link set lo up
    ip link add hosts type bridge
    ip addr add "$host/24" dev hosts
    ip addr add "$host6/64" dev hosts nodad
    ip link set hosts up
    forward_packets
    local n
    for n in "${nodes[@]}"; do node_network "$n"; done
    for n in "${nodes[@]}"; do routes_of_pods "$n"; done
}

forward_packets() {
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
}

node_network() { # N
    local name=node$1
    ip netns add "$name"
    ip link add "$name" type veth peer name eth0 netns "$name"
    ip link set "$name" master hosts up
    ip -n "$name" link set lo up
    ip -n "$name" addr add "$(node_address "$1")/24" dev eth0
    ip -n "$name" addr add "$(node_address6 "$1")/64" dev eth0 nodad
    ip -n "$name" link set eth0 up
    ip -n "$name" route add default via "$host"
    ip -n "$name" -6 route add default via "$host6"
    nsenter --net="/run/netns/$name" bash -c "$(declare -f forward_packets); forward_packets"
}

# Every host reaches the pods of node N through it.
routes_of_pods() { # N
    local other in
    for other in control "${nodes[@]}"; do
        [ "$other" != "$1" ] || continue
        in=(-n "node$other")
        [ "$other" != control ] || in=()
        ip "${in[@]}" route add "$(pod_range "$1")" via "$(node_address "$1")"
        ip "${in[@]}" -6 route add "$(pod_range6 "$1")" via "$(node_address6 "$1")"
    done
}

# ---- what is the machine's, not the box's ----

# The kubelet changes these for the whole machine.
sysctls=(kernel/panic kernel/panic_on_oops vm/overcommit_memory)

any_is_up() {
    local box
    for box in "$clusters"/*/box; do ! is_process "$box" || return 0; done
    return 1
}

keep_sysctls() {
    [ -e "$clusters/sysctls" ] && return
    local key
    for key in "${sysctls[@]}"; do echo "$key $(cat "/proc/sys/$key")"; done > "$clusters/sysctls.new"
    mv "$clusters/sysctls.new" "$clusters/sysctls"
}

restore_sysctls() {
    ! any_is_up || return 0
    local key value
    if [ -e "$clusters/sysctls" ]; then
        while read -r key value; do echo "$value" > "/proc/sys/$key"; done < "$clusters/sysctls"
    fi
    if [ -e "$clusters/directories" ]; then
        while read -r key; do rmdir "$key" 2> /dev/null || true; done < "$clusters/directories"
    fi
    rm -f "$clusters/sysctls" "$clusters/directories"
}

# Where cgroups are: one mount for each controller (version 1), one for all (version 2), or both.
cgroup_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

cgroup_of_node() { # N: it must exist in every hierarchy before the kubelet starts
    local root group file
    for root in $(cgroup_roots); do
        mkdir -p "$root/palisade-$cluster/node$1"
        for group in "$root" "$root/palisade-$cluster"; do
            [ ! -e "$group/cgroup.controllers" ] || sed 's/^/+/; s/ / +/g' "$group/cgroup.controllers" > "$group/cgroup.subtree_control"
        done
        [ -e "$root/cpuset.mems" ] || continue
        for file in cpuset.cpus cpuset.mems; do
            cat "$root/$file" > "$root/palisade-$cluster/$file"
            cat "$root/$file" > "$root/palisade-$cluster/node$1/$file"
        done
    done
}

# Removes what a cluster that has ended left: its cgroups, once the kernel has ended their processes, and its files.
clear_away() {
    local root
    for root in $(cgroup_roots); do
        [ ! -d "$root/palisade-$cluster" ] || wait_for 20 "end of $root/palisade-$cluster" remove_cgroup "$root/palisade-$cluster"
    done
    rm -rf "$state"
}

remove_cgroup() { find "$1" -depth -type d -exec rmdir {} \; 2> /dev/null; [ ! -d "$1" ]; }
