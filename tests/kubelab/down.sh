#!/bin/bash
# down.sh: ends the lab with everything in it and removes its state. Exits with 1 if anything is left. Programs and images stay.
. "$(dirname "$0")/lab.sh"
mkdir -p "$RUN"
kill_daemon lab # the kernel ends the rest: it is pid 1 of the lab's pid namespace
until_true 10 "the lab's cgroups are gone" cgroup_remove "moorline-$LAB_NAME-n"
rm -rf "$STATE"
[ ! -e "$STATE" ] || die "left: $STATE"
log "lab '$LAB_NAME' is down"
