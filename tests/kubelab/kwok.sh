#!/bin/bash
# kwok.sh up NODES [open] | down: nodes without machines beside the real ones, for scale. They are tainted: only pods that tolerate
# kwok.x-k8s.io/node go there, and "run" at once. `open`: not tainted; instead the real nodes take no new pods until `down`.
. "$(dirname "$0")/lab.sh"
need_inside
case ${1:-} in
up)
    [[ ${2:-} =~ ^[0-9]+$ && ${3:-open} = open ]] || die "usage: kwok.sh up NODES [open]"
    # Without ephemeral storage no node has room for a spool.
    room='{cpu: "32", memory: 256Gi, ephemeral-storage: 1Ti, pods: "110"}'
    taints='[{key: kwok.x-k8s.io/node, value: fake, effect: NoSchedule}]'
    if [ "${3:-}" = open ]; then
        taints='[]'
        kubectl cordon -l 'type!=kwok' >/dev/null
    fi
    # kwok has no stages of its own ("no stages found"); fetch.sh kept those of its module.
    for file in "$MOORLINE_LAB"/kwok/{node/fast,node/heartbeat-with-lease,"pod/$LAB_KWOK_PODS"}/*.yaml; do
        [ "${file##*/}" = kustomization.yaml ] || { echo --- && cat "$file"; }
    done >"$STATE/kwok.yaml"
    daemon kwok kwok --config "$STATE/kwok.yaml" --kubeconfig "$KUBECONFIG" --manage-all-nodes=false \
        --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake --node-lease-duration-seconds=40 \
        --cidr 10.97.0.0/16 --server-address 127.0.0.1:10247
    for ((i = 0; i < $2; i++)); do
        cat <<END
---
apiVersion: v1
kind: Node
metadata: {name: fake-$i, annotations: {kwok.x-k8s.io/node: fake}, labels: {type: kwok, kubernetes.io/hostname: fake-$i}}
spec: {taints: $taints}
status: {allocatable: $room, capacity: $room}
END
    done | kubectl create -f - >/dev/null
    all_ready() { [ "$(kubectl get nodes -l type=kwok --no-headers | grep -cw Ready)" = "$1" ]; }
    until_true 60 "kwok's nodes are Ready" all_ready "$2"
    ;;
down)
    kubectl delete nodes -l type=kwok --wait=false >/dev/null
    kubectl uncordon -l 'type!=kwok' >/dev/null
    kill_daemon kwok
    ;;
*) die "usage: kwok.sh up NODES [open] | down" ;;
esac
