# Comes before each of these scripts, in the chroot: a host on which our store is listed for every
# podman command, and helpers. $REGISTRY is HOST:PORT; /in is the test's directory.
set -x
# Podman gets nothing to read; the test answers on descriptor 5.
exec 5<&0 </dev/null
at=/usr/lib/containers/storage
export CONTAINERS_CONF=/run/containers.conf

cat >/run/containers.conf <<'EOF'
[containers]
cgroups = "disabled"
netns = "none"
log_driver = "k8s-file"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
EOF

# There is no mount(8) in the chroot.
mount() { /in/busybox mount "$@"; }

# listed STORE: /etc/containers/storage.conf lists it, as an administrator would.
listed() {
    printf '%s\n' '[storage]' 'driver = "overlay"' 'runroot = "/run/containers/storage"' \
        'graphroot = "/var/lib/containers/storage"' '[storage.options]' "additionalimagestores = [\"$1\"]" \
        '[storage.options.overlay]' 'mountopt = "nodev"' >/etc/containers/storage.conf
}

# Podman as on its first day: nothing pulled, no container.
first_day() {
    for directory in /var/lib/containers /run/containers /run/libpod; do
        mkdir -p "$directory"
        mount -t tmpfs tmpfs "$directory"
    done
}

# use STORE: another store is mounted where Podman looks, read-only.
use() {
    mount --bind "$1" "$at"
    mount -o remount,ro,bind "$at"
}

# in_root: Podman looks at the store in the root of the test, where it can be exchanged.
in_root() {
    mount --bind /in/root/usr/lib/containers /usr/lib/containers
    mount -o remount,ro,bind /usr/lib/containers
}

# step NAME: the test does something outside, and then the script goes on.
step() {
    echo "step $1"
    read -r -u 5 _
}

# fails COMMAND...: it must; what it said is in /run/why.
fails() {
    if "$@" >/run/why 2>&1; then
        echo "went well, but should fail: $*" >&2
        exit 1
    fi
}

# said TEXT COMMAND...: what the command must print.
said() {
    local wanted=$1 got
    shift
    got=$("$@")
    [ "$got" = "$wanted" ] || { echo "$*: '$got' is not '$wanted'" >&2; exit 1; }
}

cp -a /etc/containers /run/etc
mount --bind /run/etc /etc/containers
mount -t tmpfs tmpfs /var/tmp
listed "$at"
first_day
