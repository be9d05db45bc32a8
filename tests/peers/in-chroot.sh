#!/usr/bin/env bash
# in-chroot.sh CHROOT STORE IN SCRIPT: runs SCRIPT (a file) in CHROOT, with STORE read-only at
# /usr/lib/containers/storage and the directory IN at /in. All mounts are in a namespace of their own,
# and so are all processes: what the script leaves running ends with it. What the traps are:
#   * containers/storage remounts "/" when it unpacks, so the chroot must be a mount point;
#   * Podman's locks in /dev/shm are the same for every store, so it has a /dev/shm of its own;
#   * a changed root is not enough for `podman exec`, user namespaces and idmapped mounts, so the namespace
#     has the chroot as its root;
#   * crun refuses a hybrid cgroup hierarchy, so there is a version 2 one only.
set -euo pipefail
if [ -z "${IN_CHROOT:-}" ]; then
    export IN_CHROOT=1
    # One at a time: two Podmans in one chroot share caches below /var. Held until the script ends.
    exec 8>"$1.lock"
    flock 8
    exec unshare --mount --propagation private --pid --fork --kill-child "$0" "$@"
fi
chroot=$1 store=$2 in=$3 script=$4
mount --bind "$chroot" "$chroot"
mount -t proc proc "$chroot/proc"
mount --rbind /dev "$chroot/dev"
# Podman keeps its locks in shared memory, under one name for all stores.
mount -t tmpfs tmpfs "$chroot/dev/shm"
mount -t sysfs sysfs "$chroot/sys"
mount -t cgroup2 cgroup2 "$chroot/sys/fs/cgroup"
mount -t tmpfs tmpfs "$chroot/run"
mount -t tmpfs tmpfs "$chroot/tmp"
# What --userns=auto hands out.
echo containers:1000000:100000000 >"$chroot/run/subids"
mount --bind "$chroot/run/subids" "$chroot/etc/subuid"
mount --bind "$chroot/run/subids" "$chroot/etc/subgid"
# That of Debian sid finds nothing for a user that is not known.
{ cat "$chroot/etc/passwd"; echo containers:x:999999:65534::/:/usr/sbin/nologin; } >"$chroot/run/passwd"
mount --bind "$chroot/run/passwd" "$chroot/etc/passwd"
mount --bind "$store" "$chroot/usr/lib/containers/storage"
mount -o remount,ro,bind "$chroot/usr/lib/containers/storage"
mount --bind "$in" "$chroot/in"
cp "$script" "$chroot/tmp/script"
export PODMAN_IGNORE_CGROUPSV1_WARNING=1
# Not chroot(2): `podman exec` enters a container by its mount namespace, whose root would still be the
# machine's own. One process does it all, since afterwards none of the machine's programs are in reach.
cd "$chroot"
exec python3 -c '
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
DETACH = 2
if libc.pivot_root(b".", b".") or libc.umount2(b".", DETACH):
    raise SystemExit("pivot_root: " + os.strerror(ctypes.get_errno()))
os.chdir("/")
os.execv("/bin/bash", ["bash", "-euo", "pipefail", "/tmp/script"])
'
