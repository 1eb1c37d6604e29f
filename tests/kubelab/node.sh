#!/bin/bash
# node.sh VERB I [ARGUMENT...]: node i of the lab.
#   up              starts what does not run (boots a node that crashed)
#   crash           power loss: everything on it dies
#   freeze, thaw    the whole machine stands still: kubelet, containerd, every container
#   unplug, plug    the network cable; containers run on
#   kubelet-kill, kubelet-start, kubelet-freeze, kubelet-thaw
#   containerd-kill, containerd-start, containerd-freeze, containerd-thaw; containers run on under their shims
#   enforce, ignore network policies, by kube-router's firewall; a node that boots ignores them
#   heal            undoes all of the above
#   import          reads an image (OCI or Docker tar) from standard input
#   exec CMD...     runs CMD in the node
. "$(dirname "$0")/lab.sh"
need_inside
[ $# -ge 2 ] || die "usage: node.sh VERB I [ARGUMENT...]"
verb=$1 I=$2
shift 2
[[ $I =~ ^[1-9]$ ]] || die "node '$I': 1 to 9"
N=n$I
ADDRESS=$LAN.$((10 + I))
CGROUP=moorline-$LAB_NAME-$N
D=$STATE/nodes/$N
NODE_PATH=/srv/tools:/srv/bin:/srv/root/usr/bin:/srv/root/usr/sbin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
# Daemons of the node sit in a group of their own: version 2 allows no process beside groups.
if cgroup_v2; then FREEZER=/sys/fs/cgroup/$CGROUP; else FREEZER=/sys/fs/cgroup/freezer/$CGROUP; fi

# A node is one process tree in pid, mount, network, host name and IPC namespaces of its own; its pid 1 is node-init.sh, then pause.
first_process() {
    local unshare
    unshare=$(alive "$N") || return 1
    pgrep -P "$unshare" -o
}
in_node() { nsenter -t "$(first_process)" -m -n -p -u -i -- "$@"; }
node_daemon() { # NAME CMD...
    local name=$1 first
    shift
    if alive "$N-$name" >/dev/null; then return 0; fi
    first=$(first_process)
    (
        echo "$BASHPID" >"$FREEZER/daemons/cgroup.procs"
        exec setsid nsenter -t "$first" -m -n -p -u -i -- env -i "PATH=$NODE_PATH" HOME=/root "$@"
    ) >>"$LOGS/$N-$name.log" 2>&1 </dev/null &
    remember "$N-$name" $!
}
containers() { in_node /srv/root/usr/bin/ctr -a /run/containerd/containerd.sock -n k8s.io "$@"; }
import() { containers images import "$@" >/dev/null; }
start_kubelet() {
    node_daemon kubelet kubelet --config=/opt/kubelet.yaml --kubeconfig=/mnt/"$N".kubeconfig --root-dir=/var/lib/kubelet \
        --cert-dir=/var/lib/kubelet/pki --hostname-override="$N" --node-ip="$ADDRESS"
}
start_containerd() {
    node_daemon containerd containerd -c /opt/containerd.toml
    until_true 20 "containerd of $N answers" containers version
}
# nsenter stops with its child, so a signal goes to both, or the daemon would stay for ever.
signal_daemon() { # NAME SIGNAL
    local outer
    outer=$(alive "$N-$1") || die "no $1 runs on $N"
    kill "-$2" "$outer" "$(pgrep -P "$outer" -o)" 2>/dev/null || true
}
enforcing() { [[ $(in_node env "PATH=$NODE_PATH" iptables -S KUBE-ROUTER-FORWARD) == *"comply to network policies"* ]]; }
enforce() {
    node_daemon policies kube-router --run-firewall --run-router=false --run-service-proxy=false --enable-cni=false \
        --kubeconfig=/mnt/policies.kubeconfig --hostname-override="$N" --service-cluster-ip-range="$SERVICES.0/20" --health-port=0
    until_true 30 "$N enforces network policies" enforcing
}
ignore() {
    local outer
    [ -e "$RUN/$N-policies.pid" ] || return 0
    # By its own end, or a program that it started could write rules after they were taken away. nsenter stops with its child.
    if outer=$(alive "$N-policies"); then
        kill -TERM "$(pgrep -P "$outer" -o)" 2>/dev/null || true
        until_true 20 "the end of $N-policies" dead "$N-policies"
    fi
    # What it would take away itself is nothing (--cleanup-config knows no tables), or too much.
    # shellcheck disable=SC2016 # for the shell in the node
    in_node env "PATH=$NODE_PATH" bash -o pipefail -c \
        'iptables-save -t filter | grep -v -e KUBE-ROUTER- -e KUBE-POD-FW- -e KUBE-NWPLCY- | iptables-restore -T filter && ipset destroy'
    rm "$RUN/$N-policies.pid"
}
freezer() { # FROZEN or THAWED
    if cgroup_v2; then
        local bit=0
        [ "$1" = THAWED ] || bit=1
        echo $bit >"$FREEZER/cgroup.freeze"
        until_true 10 "$N is $1" grep -q "^frozen $bit" "$FREEZER/cgroup.events"
    else
        echo "$1" >"$FREEZER/freezer.state"
        until_true 10 "$N is $1" grep -q "^$1" "$FREEZER/freezer.state"
    fi
}
boot() {
    rm -f "$RUN/$N"-*.pid "$D/opt/ready"
    rm -rf "$D/run"
    mkdir -p "$D/run" "$D/opt/cni/net.d" "$D/opt/cni/bin" "$D/var/lib" "$D/var/log" "$D/var/tmp" "$D/cgroup"
    cgroup_make "$CGROUP"
    mkdir -p "$FREEZER/daemons"
    sed -e "s|@ADDRESS@|$ADDRESS|; s|@CGROUP@|$CGROUP|; s|@DNS@|$LAN.1|; s|@MAX_PODS@|$LAB_MAX_PODS|" "$HERE/conf/kubelet.yaml.in" >"$D/opt/kubelet.yaml"
    sed -e "s|@NODE@|$N|; s|@MODE@|$LAB_PROXY_MODE|; s|@PODS@|$PODS|" "$HERE/conf/proxy.yaml.in" >"$D/opt/proxy.yaml"
    sed -e "s|@PODS@|$PODS.$I|" "$HERE/conf/cni.conflist.in" >"$D/opt/cni/net.d/10-lab.conflist"
    cp "$HERE/conf/containerd.toml" "$D/opt/"
    echo "nameserver $LAN.1" >"$D/opt/resolv.conf"
    (
        echo "$BASHPID" >"$FREEZER/daemons/cgroup.procs"
        exec setsid unshare --net --mount --pid --uts --ipc --kill-child=KILL --mount-proc --propagation private \
            bash "$HERE/node-init.sh" "$N" "$MOORLINE_LAB" "$STATE"
    ) >>"$LOGS/$N.log" 2>&1 </dev/null &
    remember "$N" $!
    until_true 10 "$N has its mounts" test -e "$D/opt/ready"
    ip link del "$N" 2>/dev/null || true
    ip link add "$N" type veth peer name eth0 netns "$(first_process)"
    ip link set "$N" master lab0 up
    in_node ip link set lo up
    in_node ip addr add "$ADDRESS/24" dev eth0
    in_node ip link set eth0 up
    # No default route: nothing leaves. Processes of the node reach services by a route of their own, kube-proxy does the rest.
    in_node ip route add "$SERVICES.0/20" via "$LAN.1"
    local other
    for other in 1 2 3 4 5 6 7 8 9; do
        [ "$other" = "$I" ] || in_node ip route add "$PODS.$other.0/24" via "$LAN.$((10 + other))"
    done
    in_node sysctl -qw net.ipv4.ip_forward=1
    in_node sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true # only where br_netfilter is loaded
    # Tests reach pods directly, and services through node 1.
    ip route replace "$PODS.$I.0/24" via "$ADDRESS"
    [ "$I" != 1 ] || ip route replace "$SERVICES.0/20" via "$ADDRESS"
}
up() {
    local image
    first_process >/dev/null || boot
    if ! alive "$N-containerd" >/dev/null; then
        start_containerd
        for image in "$MOORLINE_LAB"/img/*.tar; do import "/srv/img/${image##*/}"; done
    fi
    start_kubelet
    node_daemon proxy kube-proxy --config=/opt/proxy.yaml
}
no_process() { [ -z "$(find "$FREEZER" -name cgroup.procs -exec cat {} + 2>/dev/null)" ]; }
crash() {
    local first name
    if first=$(first_process); then
        freezer THAWED # a frozen process dies only when it runs again
        kill -KILL "$first"
    fi
    for name in "$N" "$N-containerd" "$N-kubelet" "$N-proxy" "$N-policies"; do kill_daemon "$name"; done
    until_true 10 "processes of $N are gone" no_process
    ip link del "$N" 2>/dev/null || true
    until_true 10 "groups of $N are gone" cgroup_remove "$CGROUP"
}

case $verb in
up) up ;;
crash) crash ;;
freeze) freezer FROZEN ;;
thaw) freezer THAWED ;;
unplug) ip link set "$N" down ;;
plug) ip link set "$N" up ;;
kubelet-kill | containerd-kill)
    signal_daemon "${verb%-kill}" KILL
    kill_daemon "$N-${verb%-kill}"
    ;;
kubelet-freeze | containerd-freeze) signal_daemon "${verb%-freeze}" STOP ;;
kubelet-thaw | containerd-thaw) signal_daemon "${verb%-thaw}" CONT ;;
kubelet-start) start_kubelet ;;
containerd-start) start_containerd ;;
enforce) enforce ;;
ignore) ignore ;;
heal)
    if first_process >/dev/null; then
        freezer THAWED
        ip link set "$N" up
        for name in kubelet containerd; do
            ! alive "$N-$name" >/dev/null || signal_daemon "$name" CONT
        done
        ignore
    fi
    up
    ;;
import) import - ;;
exec) in_node env "PATH=$NODE_PATH" "$@" ;;
*) die "no verb '$verb'" ;;
esac
