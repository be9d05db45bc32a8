#!/usr/bin/env bash
# images.sh: the images of the scenarios and the data directory of a registry that has them, made once below
# target/lab/images. Prints that directory: registry/ (docker-registry's), digests (one line each:
# NAME:TAG DIGEST).
#
#   app:1 app:2      one changed layer of 6 MB on the common base
#   keep:1           unchanged from one host version to the next
#   extra:1          new in the next host version, 5 MB
#   big:1            20 MB, for links that are slow or break
#   float:1          two layers of app:1 and one of its own, for images that are not bound
# Each runs `busybox` and writes its name and tag to its log; the layers' content is random, from a fixed seed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/setup/env.sh
. "$here/../setup/env.sh"
directory=$project/target/lab/images
mkdir -p "$directory"
exec 9>"$directory/.lock"
flock 9
key=$(cat "$here/images.sh" "$project/tests/corpus/mkimage.py" | sha256sum | cut -c1-16)
if [ "$(cat "$directory/.stamp" 2>/dev/null)" = "$key" ]; then
    echo "$directory"
    exit
fi
rm -rf "$directory"/{layout,base,work,registry,digests}
mkdir -p "$directory"/{base/bin,base/tmp,work,registry}
cp "$(command -v busybox)" "$directory/base/bin/busybox"
for applet in sh ls cat echo sleep id httpd wget mount sync touch; do ln -s busybox "$directory/base/bin/$applet"; done

# random FILE MEGABYTES SEED: bytes that no compressor makes smaller, the same every time.
random() {
    python3 - "$@" <<'PYTHON'
import random, sys
with open(sys.argv[1], "wb") as file:
    source = random.Random(sys.argv[3])
    for _ in range(int(sys.argv[2])):
        file.write(source.randbytes(1 << 20))
PYTHON
}

mkimage() { python3 "$project/tests/corpus/mkimage.py" "$@" 2>&1; }

# layer NAME MEGABYTES: a layer with a marker and so much data; prints its descriptor.
layer() {
    local tree=$directory/work/$1
    mkdir -p "$tree/data"
    echo "$1" >"$tree/marker"
    random "$tree/data/$1" "$2" "$1"
    mkimage layer "$directory/layout" "$tree=gzip"
}

# image NAME:TAG DESCRIPTOR...: what it prints is what `podman logs` shows.
image() {
    local name=$1 args=() described
    shift
    for descriptor in "$@"; do args+=(--layer "$descriptor"); done
    described=$(mkimage image "$directory/layout" --ref "$name" "${args[@]}" \
        --config '{"config":{"Env":["PATH=/bin"],"StopSignal":"SIGKILL"}}' \
        --cmd /bin/sh -c "echo running $name; exec sleep 2147483")
    printf '%s %s\n' "$name" "$(jq -r .manifest <<<"$described")" >>"$directory/digests"
}

base=$(mkimage layer "$directory/layout" "$directory/base=gzip")
app1=$(layer app-1 6)
image app:1 "$base" "$app1"
image app:2 "$base" "$(layer app-2 6)"
image keep:1 "$base" "$(layer keep-1 5)"
image extra:1 "$base" "$(layer extra-1 5)"
image big:1 "$base" "$(layer big-1 20)"
image float:1 "$base" "$app1" "$(layer float-1 1)"

# A registry of its own takes them, on a port that is free.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$here/registry.sh" "$directory/registry" "$port" "$directory/registry.log" &
registry=$!
trap 'kill "$registry"' EXIT
"$here/registry.sh" --wait "$port"
while read -r name _; do
    skopeo copy --quiet --preserve-digests --dest-tls-verify=false "oci:$directory/layout:$name" "docker://127.0.0.1:$port/$name" >&2
done <"$directory/digests"
rm -rf "$directory"/{base,work,layout}
echo "$key" >"$directory/.stamp"
echo "$directory"
