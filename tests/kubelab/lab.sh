# shellcheck shell=bash disable=SC2034 # variables are for those who source it
# Settings and functions of the lab. Every script here sources it; it does nothing by itself.
set -euo pipefail

# Programs, packages and labs lie here, outside the repository. `rm -rf` it to be rid of all of it.
: "${MOORLINE_LAB:=${XDG_CACHE_HOME:-${HOME:?}/.cache}/moorline-lab}"
: "${LAB_NAME:=hand}"            # which lab: its state and its cgroups carry the name, so that several run beside each other
: "${LAB_NODES:=2}"              # how many nodes up.sh starts
: "${LAB_GRACE:=12s}"            # the controller-manager calls a silent node lost after this
: "${LAB_PROXY_MODE:=nftables}"  # kube-proxy: nftables or iptables
: "${LAB_MAX_PODS:=150}"         # per node
: "${LAB_KWOK_PODS:=fast}"       # kwok's stages for pods: fast or general
export MOORLINE_LAB LAB_NAME LAB_NODES LAB_GRACE LAB_PROXY_MODE LAB_MAX_PODS LAB_KWOK_PODS

[[ $LAB_NAME =~ ^[a-z0-9]{1,20}$ ]] || { echo "LAB_NAME '$LAB_NAME': 1 to 20 of a-z and 0-9" >&2 && exit 1; }
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
STATE=$MOORLINE_LAB/labs/$LAB_NAME
RUN=$STATE/run LOGS=$STATE/log PKI=$STATE/pki
# Every lab has a network namespace of its own, so all of them use the same addresses:
LAN=10.98.0       # the host (control plane, tests, servers for pods) is .1, node i is .(10+i)
PODS=10.99        # pods of node i: 10.99.i.0/24
SERVICES=10.96.0  # services: 10.96.0.0/20; `kubernetes` is .1
API=https://$LAN.1:6443
export PATH=$MOORLINE_LAB/bin:$MOORLINE_LAB/root/usr/bin:$MOORLINE_LAB/root/usr/sbin:$PATH
export KUBECONFIG=$STATE/admin.kubeconfig

log() { printf '%s %s\n' "$(date +%H:%M:%S.%3N)" "$*" >&2; }
die() { log "error: $*"; exit 1; }

# until_true SECONDS WHAT CMD...: repeats CMD until it succeeds.
until_true() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "not within its time: $what"
        sleep 0.05
    done
}

# --- Processes, by pid file: "<pid> <start time>", so that a pid that was used again is never signalled.

start_time() { # of a pid; a zombie counts as gone, since pid 1 may reap late
    local stat fields
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    read -ra fields <<<"${stat##*) }"
    [ "${fields[0]}" != Z ] && echo "${fields[19]}"
}
remember() { echo "$2 $(start_time "$2")" >"$RUN/$1.pid"; }
alive() { # prints the pid
    local pid started
    [ -s "$RUN/$1.pid" ] || return 1
    read -r pid started <"$RUN/$1.pid"
    [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}
daemon() { # NAME CMD...: unless it runs; in a session of its own, with a log
    local name=$1
    shift
    if alive "$name" >/dev/null; then return 0; fi
    setsid "$@" >>"$LOGS/$name.log" 2>&1 </dev/null &
    remember "$name" $!
}
kill_daemon() {
    local pid
    if pid=$(alive "$1"); then
        kill -KILL "$pid" 2>/dev/null || true
        until_true 10 "the end of $1" dead "$1"
    fi
    rm -f "$RUN/$1.pid"
}
dead() { ! alive "$1"; }

# --- The lab itself: one process in pid, mount and network namespaces of its own. When it dies, all that runs in it dies.

lab_pid() { # of that process, seen from outside
    local unshare
    unshare=$(alive lab) || return 1
    pgrep -P "$unshare" -o
}
# begin [WRAPPER...]: starts it unless it runs. The wrapper is what starts it.
begin() {
    if lab_pid >/dev/null; then return 0; fi
    [ ! -e "$STATE" ] || "$HERE/down.sh" # what a killed lab of this name left
    "$HERE/can-run.sh" >&2 || die "the lab cannot run here"
    mkdir -p "$RUN" "$LOGS" "$PKI" "$STATE/nodes"
    chmod 700 "$STATE"
    setsid "$@" unshare --net --pid --mount --propagation private --mount-proc --kill-child=KILL \
        "$MOORLINE_LAB/img/pause" >"$LOGS/lab.log" 2>&1 </dev/null &
    remember lab $!
    disown # or bash would tell that it was killed
    until_true 10 "the lab's first process" lab_pid
    enter readlink /proc/self/ns/net >"$RUN/inside"
}
enter() { "$HERE/enter.sh" "$@"; }
inside() { [ -e "$RUN/inside" ] && [ "$(readlink /proc/self/ns/net)" = "$(cat "$RUN/inside")" ]; }
need_inside() { inside || die "run this inside the lab: cargo xtask lab shell"; }

# --- cgroups: version 2, or version 1 with a hierarchy for each controller.

cgroup_v2() { [ -e /sys/fs/cgroup/cgroup.controllers ]; }
cgroup_hierarchies() {
    if cgroup_v2; then
        echo /sys/fs/cgroup
        return
    fi
    local directory
    for directory in /sys/fs/cgroup/*/; do
        directory=${directory%/}
        [ "${directory##*/}" = unified ] || [ -L "$directory" ] || [ ! -e "$directory/tasks" ] || echo "$directory"
    done
}
cgroup_make() {
    local directory controller
    for directory in $(cgroup_hierarchies); do
        mkdir -p "$directory/$1"
        if ! cgroup_v2 && [ -e "$directory/cpuset.cpus" ]; then
            cat "$directory/cpuset.cpus" >"$directory/$1/cpuset.cpus"
            cat "$directory/cpuset.mems" >"$directory/$1/cpuset.mems"
        fi
    done
    if cgroup_v2; then
        for controller in cpuset cpu io memory pids; do
            echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
        done
    fi
}
cgroup_remove() { # every group whose name begins so; false if one is left
    local directory left=0
    # runc makes groups in the version 2 part of a hybrid layout too.
    for directory in $(cgroup_hierarchies) /sys/fs/cgroup/unified; do
        find "$directory" -mindepth 1 -depth -type d -path "$directory/$1*" -exec rmdir {} + 2>/dev/null || true
        ! compgen -G "$directory/$1*" >/dev/null || left=1
    done
    return $left
}
