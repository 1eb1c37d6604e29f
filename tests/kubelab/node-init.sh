#!/bin/bash
# node-init.sh NODE CACHE STATE: pid 1 of a node. Makes the mounts that only the node sees, then becomes the pause program.
set -euo pipefail
node=$1 cache=$2 state=$3
D=$state/nodes/$node
hostname "$node"
# What the node uses, at the same paths on every node: programs, and the lab's state.
mount --bind "$cache" /srv
mount --bind "$state" /mnt
# A sysfs of this network namespace. It hides the mounts of the cgroups: they are carried over.
mount --rbind /sys/fs/cgroup "$D/cgroup"
mount -t sysfs sysfs /sys
mount --rbind "$D/cgroup" /sys/fs/cgroup
umount -R -l "$D/cgroup"
# The kubelet sets these for the whole kernel. Here it finds them as it wants them, and the machine's own stay as they are.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    [ -e "/proc/sys/${setting%=*}" ] || continue
    file=$D/opt/${setting//[\/=]/-}
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done
mount --bind "$D/run" /run
mount --bind "$D/var" /var
ln -sfn /run /var/run
mount --bind /srv/root/usr/lib/cni "$D/opt/cni/bin"
mount --rbind "$D/opt" /opt
mount --make-rshared / # within the node: the kubelet wants it
: >/opt/ready
exec /srv/img/pause
