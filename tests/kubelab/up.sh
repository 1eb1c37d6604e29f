#!/bin/bash
# up.sh: a cluster of LAB_NODES nodes in namespaces of its own, without a way out. Idempotent: a second call starts what is missing.
. "$(dirname "$0")/lab.sh"
if [ "${1:-}" != inside ]; then
    begin env
    enter "$HERE/up.sh" inside
    exit
fi

need_inside
. "$HERE/control.sh"
ip link set lo up
# The nodes' network: a bridge that is never joined to a real interface.
ip link show lab0 >/dev/null 2>&1 || {
    ip link add lab0 type bridge
    ip addr add "$LAN.1/24" dev lab0
    ip link set lab0 up
}
make_certificates
start_etcd
start_apiserver
until_true 60 "the API server is ready" kubectl get --raw /readyz
start_controller_manager
start_scheduler
kubectl apply -f "$HERE/conf/bootstrap.yaml" >/dev/null
start_coredns
for ((i = 1; i <= LAB_NODES; i++)); do "$HERE/node.sh" up "$i"; done
node_ready() { [ "$(kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
for ((i = 1; i <= LAB_NODES; i++)); do until_true 90 "node n$i is Ready" node_ready "n$i"; done
log "lab '$LAB_NAME' is up: $LAB_NODES nodes"
