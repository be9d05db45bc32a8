# shellcheck shell=bash
# shellcheck disable=SC2154  # lib.sh is read before this
# For docs/operator.md: a host that runs A, with its hook, and a registry.
site=registry.example/site
for name in logger:1 logger:2 exporter:1; do image $site/$name; done
registry_up registry.example
push $site/logger:1
push $site/exporter:1
mkdir -p host/usr/share/containers/oci/hooks.d host/usr/libexec
cp "$project/units/bound-images-hook.json" host/usr/share/containers/oci/hooks.d/
cp "${BOUND_IMAGES%/*}/bound-images" host/usr/libexec/bound-images-hook
host deploy A logger=$site/logger:1 exporter=$site/exporter:1
host boot A
bound-images stage --late-binding >stage.log 2>&1

# Why a root cannot be staged, one after the other: B wants logger:2.
held_back() {
    host deploy B logger=$site/logger:2 exporter=$site/exporter:1
    host stage B
    bound-images stage >stage.log 2>&1
    bound-images gate --remember >gate.log 2>&1
    true
}

# refusal SERVICE REFERENCE: what Podman tells the hook of a container that runs another image.
refusal() {
    local graph=$W/graph link=AAAAAAAAAAAAAAAAAAAAAAAAAA store
    store=$(echo "$W"/host/sysroot/bound-images/stores/*.1)
    other=$(printf 'another image' | sha256sum | cut -d' ' -f1)
    mkdir -p "$graph/overlay/l" "$graph/overlay/own/merged" "$graph/overlay-containers" box
    ln -s "../$other/diff" "$graph/overlay/l/$link"
    printf 'l/%s' $link >"$graph/overlay/own/lower"
    printf '[{"id": "c1", "names": ["x"], "image": "%s", "layer": "own", "metadata": "{}"}]' "$other" >"$graph/overlay-containers/containers.json"
    printf '{"ociVersion": "1.2.0", "process": {"args": ["/run"], "cwd": "/"}, "root": {"path": "%s"}, "annotations": {"bound-images.service": "%s", "bound-images.reference": "%s", "bound-images.pin": "require"}}' \
        "$graph/overlay/own/merged" "$1" "$2" >box/config.json
    printf '{"ociVersion": "1.0", "id": "c1", "status": "creating", "pid": 7, "bundle": "%s"}' "$W/box" >state.json
    eval "hook() { \"${BOUND_IMAGES%/*}/bound-images-hook\" --store '$store' --journal /nowhere; }"
}

# override NAME REFERENCE: a drop-in of the administrator's. A root that runs has the live /etc.
override() {
    local directory
    directory=$(host path D)/etc/containers/systemd/$1.container.d
    mkdir -p "$directory"
    printf '[Container]\nImage=%s\n' "$2" >"$directory/50-site.conf"
}
