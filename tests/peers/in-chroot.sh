#!/usr/bin/env bash
# in-chroot.sh CHROOT STORE IN SCRIPT: runs SCRIPT (a file) in CHROOT, with STORE read-only at
# /usr/lib/containers/storage and the directory IN at /in. All mounts are in a namespace of their own
# and end with it. What the traps are:
#   * containers/storage remounts "/" when it unpacks, so the chroot must be a mount point;
#   * crun refuses a hybrid cgroup hierarchy, so there is a version 2 one only.
set -euo pipefail
if [ -z "${IN_CHROOT:-}" ]; then
    export IN_CHROOT=1
    exec unshare --mount --propagation private "$0" "$@"
fi
chroot=$1 store=$2 in=$3 script=$4
mount --bind "$chroot" "$chroot"
mount -t proc proc "$chroot/proc"
mount --rbind /dev "$chroot/dev"
mount -t sysfs sysfs "$chroot/sys"
mount -t cgroup2 cgroup2 "$chroot/sys/fs/cgroup"
mount -t tmpfs tmpfs "$chroot/run"
mount -t tmpfs tmpfs "$chroot/tmp"
mount --bind "$store" "$chroot/usr/lib/containers/storage"
mount -o remount,ro,bind "$chroot/usr/lib/containers/storage"
mount --bind "$in" "$chroot/in"
cp "$script" "$chroot/tmp/script"
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
exec chroot "$chroot" /bin/bash -euo pipefail /tmp/script
