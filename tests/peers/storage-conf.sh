# Runs in the chroot: for each directory of /in/cases, what podman makes of the storage.conf files in it
# and the variables of its file `env`. tests/storage_conf.rs compares.
podman --version
export CONTAINERS_CONF=/dev/null HOME=/root
mkdir -p /run/a /run/b /run/c /var/lib/containers
# The chroot's own files stay as they are. There is no mount(8) in it.
places=(/etc/containers /usr/share/containers /root)
for place in "${places[@]}" /var/lib/containers; do /in/busybox mount -t tmpfs tmpfs "$place"; done
for case in /in/cases/*; do
    rm -rf /etc/containers/* /usr/share/containers/* /root/.config /run/xdg
    for place in "${places[@]}" /run; do
        if [ -d "$case$place" ]; then cp -a "$case$place/." "$place/"; fi
    done
    status=0
    (
        # shellcheck disable=SC1091
        . "$case/env"
        # `podman info` starts half a dozen programs more, to say no more about storage.
        podman --log-level=debug images --quiet
    ) >/dev/null 2>"$case/log" </dev/null || status=$?
    echo "$status" >"$case/status"
done
echo judged
