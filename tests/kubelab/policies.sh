#!/bin/bash
# policies.sh on | off: whether the nodes enforce network policies. Off is how a lab begins, since tests reach ports of pods that policies keep for
# others. What is connected already stays so.
. "$(dirname "$0")/lab.sh"
need_inside
case ${1:-} in
on)
    [ -x "$MOORLINE_LAB/bin/kube-router" ] || die "kube-router is missing: fetch.sh gets it"
    verb=enforce
    ;;
off) verb=ignore ;;
*) die "usage: policies.sh on | off" ;;
esac
for ((i = 1; i <= LAB_NODES; i++)); do "$HERE/node.sh" $verb "$i"; done
