# An image that shares layers with a bound one is pulled; then the store is replaced by one without them.
bound=registry.test/t/bound:1 floating=$REGISTRY/t/floating:1

pulled() {
    podman image exists "$bound"
    podman pull -q --tls-verify=false "$floating"
    said floating podman run --rm --pull=never "$floating" /bin/cat /name
}

# The store is gone, the image is whole.
whole() {
    fails podman image exists "$bound"
    said floating podman run --rm --pull=never "$floating" /bin/cat /name
    podman image inspect "$floating" >/run/inspected
    podman system check
    podman save -q --format oci-archive -o /run/saved.tar "$floating"
    rm /run/saved.tar
    podman run --name changed --pull=never "$floating" /bin/sh -c 'echo changed > /changed'
    podman commit -q changed localhost/changed:1
    podman rm changed
    said changed podman run --rm --pull=never localhost/changed:1 /bin/cat /changed
}

# Another store is mounted.
use /in/pool/1
pulled
use /in/pool/2
whole

# What this hazard is without layer ids of our own: the store that skopeo writes has Podman's.
first_day
sed '/additionalimagestores/d' /etc/containers/storage.conf >/run/none.conf
for name in bound other; do
    CONTAINERS_STORAGE_CONF=/run/none.conf skopeo copy -q "oci:/in/bundle:registry.test/t/$name:1" \
        "containers-storage:[overlay@/run/$name+/run/$name-run]registry.test/t/$name:1"
done
use /run/bound
pulled
use /run/other
fails podman run --rm --pull=never "$floating" /bin/cat /name
fails podman image inspect "$floating"

# A stage exchanges the store.
first_day
in_root
pulled
step other
podman image exists registry.test/t/other:1
whole
echo judged
