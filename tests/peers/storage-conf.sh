# Runs in the chroot: for each directory of /in/cases, what podman makes of the storage.conf files in it
# and the variables of its file `env`. tests/storage_conf.rs compares.
export CONTAINERS_CONF=/dev/null
mkdir -p /run/a /run/b /run/c
# The chroot's own files stay as they are. There is no mount(8) in it.
/in/busybox mount -t tmpfs tmpfs /etc/containers
/in/busybox mount -t tmpfs tmpfs /usr/share/containers
/in/busybox mount -t tmpfs tmpfs /var/lib/containers
for case in /in/cases/*; do
    rm -f /etc/containers/storage.conf /usr/share/containers/storage.conf
    for path in etc usr/share; do
        if [ -e "$case/$path/containers/storage.conf" ]; then
            cp "$case/$path/containers/storage.conf" "/$path/containers/storage.conf"
        fi
    done
    rm -rf /run/xdg
    if [ -d "$case/run/xdg" ]; then cp -r "$case/run/xdg" /run/xdg; fi
    status=0
    (
        # shellcheck disable=SC1091
        . "$case/env"
        podman --log-level=debug info --format '{{.Store.GraphRoot}}'
    ) >"$case/out" 2>"$case/log" </dev/null || status=$?
    echo "$status" >"$case/status"
done
echo judged
