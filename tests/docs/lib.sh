# shellcheck shell=bash
# shellcheck disable=SC2154  # console.py sets them
# Words of the documents' shells: read by console.py, with `project` and `W`, the scratch directory.

: "${BOUND_IMAGES:=$project/target/debug/bound-images}"
export CONTAINERS_REGISTRIES_CONF=$W/registries.conf
: >"$CONTAINERS_REGISTRIES_CONF"

# Every command speaks of the fixture, not of this machine.
mkdir -p "$W/host"
bound-images() { "$BOUND_IMAGES" "$@" --host "$W/host"; }

# image REFERENCE [TEXT]: one of two layers, into the bundle. The lower one is the same for all images, the upper one has
# FILE (or `name`), with TEXT.
image() {
    printf '[{"path": "bin", "type": "dir"}, {"path": "bin/run", "content": "not really", "mode": "0755"}]' >"$W/base.json"
    printf '[{"path": "%s", "content": "%s %s"}]' "${FILE:-name}" "$1" "${2:-}" >"$W/top.json"
    python3 "$project/tests/corpus/mkimage.py" image "$W/${BUNDLE:-bundle}" --ref "$1" --layer "$W/base.json" --layer "$W/top.json" >"$W/made"
    rm "$W/base.json" "$W/top.json" "$W/made"
}

# registry_up HOST: docker-registry in the place of HOST, with its images of the bundle.
registry_up() {
    if [ -z "${port:-}" ]; then
        port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        printf '[[registry]]\nprefix = "%s"\nlocation = "127.0.0.1:%s"\ninsecure = true\n' "$1" "$port" >"$CONTAINERS_REGISTRIES_CONF"
    fi
    {
        printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$W/registry" "$port"
        [ ! -e "$W/users" ] || printf 'auth: {htpasswd: {realm: lab, path: %s}}\n' "$W/users"
    } >"$W/registry.yml"
    docker-registry serve "$W/registry.yml" >"$W/registry.log" 2>&1 &
    registry=$!
    # shellcheck disable=SC2064  # this process, now
    trap "kill $registry" EXIT
    for _ in $(seq 200); do
        ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
        sleep 0.05
    done
    cat "$W/registry.log"
}

registry_down() {
    kill "$registry"
    wait "$registry" 2>/dev/null || true
    trap - EXIT
}

# push REFERENCE: from the bundle into the registry.
push() {
    skopeo copy -q --dest-tls-verify=false "oci:$W/bundle:$1" "docker://127.0.0.1:$port/${1#*/}"
}

# The host of the fixture: deployments A, B, ... as ostree lays them out.
host() { python3 "$project/tests/docs/host.py" "$W/host" "$@"; }

# skopeo looks at no variable for it.
skopeo() { command skopeo --registries-conf "$CONTAINERS_REGISTRIES_CONF" --insecure-policy "$@"; }
