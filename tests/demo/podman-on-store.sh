#!/usr/bin/env bash
# podman-on-store.sh STORE COMMAND [ARG...]: runs podman with STORE as additional image store,
# mounted read-only as on a host, and an empty primary store that is thrown away.
# `run` gets the flags with which it works without systemd, network and cgroup delegation.
set -euo pipefail
store=$(realpath -- "${1:?usage: podman-on-store.sh STORE COMMAND [ARG...]}")
shift
command=$1
shift
flags=()
if [ "$command" = run ]; then
    flags=(--rm --pull=never --cgroups=disabled --network=none --ulimit nofile=1024:1024 --ulimit nproc=1000:1000)
fi

if [ -z "${PODMAN_ON_STORE:-}" ]; then
    # conmon's sockets need a short path, so this is not below target/. The mounts, podman's too, end
    # with the namespace; only then the directory is removed.
    scratch=$(mktemp -d /tmp/bi.XXXXXX)
    trap 'rm -rf --one-file-system "$scratch"' EXIT
    export PODMAN_ON_STORE=$scratch
    # What can be typed: the rest keeps it apart from the machine.
    typed="podman --storage-opt additionalimagestore=$store $command ${flags[*]} $*"
    printf '$ %s\n' "${typed//  / }"
    unshare --mount --propagation private "$0" "$store" "$command" "$@"
    exit
fi
scratch=$PODMAN_ON_STORE

# Podman keeps its locks in shared memory, under one name for all stores: others may run beside us.
mount -t tmpfs tmpfs /dev/shm
mount --bind "$store" "$store"
mount -o remount,ro,bind "$store"

# crun refuses a machine that still has version 1 hierarchies: in here, there is version 2 only.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount --recursive --lazy /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi

export PODMAN_IGNORE_CGROUPSV1_WARNING=1
podman --root "$scratch/root" --runroot "$scratch/run" --tmpdir "$scratch/tmp" \
    --storage-driver overlay --storage-opt "additionalimagestore=$store" \
    --network-config-dir "$scratch/networks" --cgroup-manager=cgroupfs --events-backend=file "$command" "${flags[@]}" "$@"
