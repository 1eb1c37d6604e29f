#!/bin/bash
# enter.sh CMD...: runs CMD inside the lab, in the same directory, with KUBECONFIG and PATH set.
. "$(dirname "$0")/lab.sh"
pid=$(lab_pid) || die "no lab '$LAB_NAME' runs"
exec nsenter -t "$pid" --net --pid --mount --wdns="$PWD" -- "$@"
