# The bound image itself is pulled, by its own name and by another; then an update brings a new one.
bound=$REGISTRY/t/same
id() { podman image inspect --format '{{.Id}}' "$1"; }

use /in/pool/1
said "$OLD_ID" id "$bound:1"
said "$OLD_ID" id "$bound@$OLD_DIGEST"
podman pull -q --tls-verify=false "$bound:1"
podman pull -q --tls-verify=false "$REGISTRY/t/alias:1"
said old podman run --rm --pull=never "$bound:1" /bin/cat /name

use /in/pool/2
# By digest it is the new one. By name it is what was pulled, which is whole.
said "$NEW_ID" id "$bound@$NEW_DIGEST"
said "$NEW_ID" id "$bound:1@$NEW_DIGEST"
said new podman run --rm --pull=never "$bound:1@$NEW_DIGEST" /bin/cat /name
said "$OLD_ID" id "$bound:1"
said old podman run --rm --pull=never "$bound:1" /bin/cat /name
said old podman run --rm --pull=never "$REGISTRY/t/alias:1" /bin/cat /name
podman system check
# Without the pulled one, the name is the bound image's again.
podman rmi "$bound:1"
said "$NEW_ID" id "$bound:1"
podman rmi "$REGISTRY/t/alias:1"
said new podman run --rm --pull=never "$bound:1" /bin/cat /name
echo judged
