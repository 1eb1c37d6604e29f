#!/bin/bash
# can-run.sh: succeeds where the lab can run; else prints one line that says why not. Changes nothing.
. "$(dirname "$0")/lab.sh"
no() {
    echo "$*"
    exit 1
}
[ "$(id -u)" = 0 ] || no "needs root (namespaces, cgroups, mounts)"
for program in unshare nsenter setsid setpriv ip pgrep openssl gcc apt-get dpkg-deb; do
    command -v "$program" >/dev/null || no "needs $program"
done
unshare --net --pid --mount --uts --ipc --fork --mount-proc true 2>/dev/null || no "the kernel or a container forbids namespaces"
[ -e /dev/kmsg ] || no "needs /dev/kmsg, which the kubelet reads"
grep -qw overlay /proc/filesystems || no "the kernel has no overlay file system"
trial=moorline-trial-$$
trap 'cgroup_remove "$trial" || true' EXIT
cgroup_make "$trial" 2>/dev/null || no "cgroups cannot be made"
if cgroup_v2; then
    for controller in cpu memory pids; do
        grep -qw "$controller" "/sys/fs/cgroup/$trial/cgroup.controllers" || no "cgroup v2 does not delegate the controller '$controller'"
    done
else
    for controller in cpu memory pids freezer devices; do
        [ -d "/sys/fs/cgroup/$controller/$trial" ] || no "cgroup v1 has no hierarchy for '$controller'"
    done
fi
