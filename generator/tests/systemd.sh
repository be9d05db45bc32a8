#!/usr/bin/env bash
# systemd.sh CASES: a systemd of its own (a user's manager, in namespaces of its own) mounts the
# store as the units of two golden cases say. Prints what it finds; systemd.rs judges it. Exit 2
# where there can be no such manager.
set -euo pipefail
cases=$1 stage=${2:-outside}
id=$(printf 'a1%.0s' {1..32}).0
manager=/lib/systemd/systemd

if [ "$stage" = outside ]; then
    [ "$(id -u)" = 0 ] || { echo "root" >&2; exit 2; }
    [ -x "$manager" ] || { echo "$manager" >&2; exit 2; }
    exec unshare --mount --propagation private "$0" "$cases" mounts
elif [ "$stage" = mounts ]; then
    mount -t tmpfs tmpfs /run
    mkdir /run/cgroup
    mount -t cgroup2 cgroup2 /run/cgroup || { echo "cgroup2" >&2; exit 2; }
    group=/run/cgroup/bound-images-test.$$
    mkdir "$group"
    (echo "$BASHPID" >"$group/cgroup.procs" && exec unshare --cgroup "$0" "$cases" inside) && code=0 || code=$?
    find "$group" -depth -type d -exec rmdir {} \; || true
    exit "$code"
fi

# A manager takes all processes of its cgroup and what it finds at /sys/fs/cgroup for its own: that
# must be the group made for it, never the machine's. Only the machine's has no type.
umount --recursive --lazy /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -e /sys/fs/cgroup/cgroup.type ] || { echo "cgroup namespaces" >&2; exit 2; }

# A manager looks here for whether systemd runs at all.
mkdir -p /run/systemd/system /run/t/{home/.config/systemd/user,runtime,pool/roots,pool/stores/s.0,store}
export HOME=/run/t/home XDG_CONFIG_HOME=/run/t/home/.config XDG_RUNTIME_DIR=/run/t/runtime
units=$XDG_CONFIG_HOME/systemd/user
echo '{}' >/run/t/pool/stores/s.0/bound-images.json
# The units of a case, with their paths below /run/t.
use() {
    sed -e 's,/sysroot/bound-images,/run/t/pool,' -e 's,/usr/lib/containers/storage,/run/t/store,' \
        "$cases/$1/expected/normal/usr-lib-containers-storage.mount" >"$units/run-t-store.mount"
    mkdir -p "$units/nginx.service.d"
    # What the service itself needs is another test's business.
    sed -e '/^\[Service\]/,$d' -e 's,/usr/lib/containers/storage,/run/t/store,' \
        "$cases/$1/expected/normal/nginx.service.d/50-bound-images.conf" >"$units/nginx.service.d/50.conf"
}
cat >"$units/bound-images-stage-booted.service" <<-END
	[Service]
	Type=oneshot
	ExecStart=/bin/sh -c 'echo >>/run/t/asked; test -e /run/t/network && ln -s ../stores/s.0 /run/t/pool/roots/$id'
END
printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/cat /run/t/store/bound-images.json\n' >"$units/nginx.service"
printf '[Unit]\nDescription=nothing\n' >"$units/default.target"
use 17-pool-image-missing
"$manager" --user --log-target=null >/run/t/log 2>&1 &
pid=$!
trap 'kill -KILL "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true' EXIT
for _ in {1..300}; do
    if systemctl --user is-active --quiet default.target 2>/run/t/log; then break; fi
    kill -0 "$pid" 2>/dev/null || { echo "a systemd that starts here: $(cat /run/t/log)" >&2; exit 2; }
    sleep 0.2
done
control() { systemctl --user "$@" 2>/dev/null || true; }
say() {
    local mounted=no
    if grep -F " /run/t/store ro," /proc/self/mountinfo >/run/t/log; then mounted=yes; fi
    echo "$1: service $(control is-active nginx.service), mount $(control is-active run-t-store.mount), mounted $mounted, asked $(wc -l </run/t/asked)"
}
control start nginx.service
say "no network"
touch /run/t/network
control start nginx.service
say "tried again"
use 16-pool-complete
control daemon-reload
say "complete, reloaded"
control stop nginx.service run-t-store.mount
control start nginx.service
say "complete, started"
if touch /run/t/store/x 2>/dev/null; then echo "the store is writable"; fi
control stop nginx.service run-t-store.mount
rm "/run/t/pool/roots/$id"
control start nginx.service
say "link gone"
echo "roots: $(ls /run/t/pool/roots)"
control exit
