# conformance-step.sh STEP STORE IMAGE: asks Podman or skopeo one thing about one image of an additional
# store; fails when the answer is wrong, its last line then says why. IMAGE is a line of JSON: name,
# layout, manifest, list, config, diff_ids. Run inside of in-chroot.sh, with set -euo pipefail.
step=$1 store=$2 image=$3
field() { jq -r ".$1" <<<"$image"; }
name=$(field name) manifest=$(field manifest) list=$(field list) config=$(field config)
short=${name##*/} repository=${name%:*} id=${config#sha256:}
short=${short%:*}
out=/run/out
mkdir -p /run/p /in/out/ours /in/out/theirs "$out"
rm -rf "${out:?}"/*

common=(--cgroup-manager=cgroupfs --events-backend=file --storage-driver overlay)
podman=(podman --root /run/p/root --runroot /run/p/run "${common[@]}" --storage-opt "additionalimagestore=$store")
flags=(--rm --cgroups=disabled --network=none --pull=never --ulimit nproc=1000:1000 --ulimit nofile=1024:1024)
skopeo_ours="containers-storage:[overlay@/run/p/root+/run/p/run:overlay.imagestore=$store]$name"
skopeo_theirs="containers-storage:[overlay@/in/ref+/run/ref]$name"
same() { [ "$1" = "$2" ] || { echo "is $1, should be $2" >&2; return 1; }; }

# Type, mode, owner and name of everything in the image, and the content of files; Podman's own files left out.
# The sums must come in the container: some paths are longer than one on the outside may be.
look='find / -xdev ! -path "/proc*" ! -path "/sys*" ! -path "/dev*" ! -path "/run*" ! -path "/etc/*" -exec stat -c "%F %a %u:%g %t:%T %n" {} + | sort
find / -xdev -type f ! -path "/proc*" ! -path "/sys*" ! -path "/dev*" ! -path "/run*" ! -path "/etc/*" -exec sha256sum {} + | sort'
listing() { "$@" "$name" /bin/sh -c "$look" >"$out/listing"; }

# A copy has other compression, so another manifest; config and layers must be the same.
copied_out() {
    skopeo copy -q "$1" "dir:$out/dir"
    same "$(jq -r .config.digest "$out/dir/manifest.json")" "$config"
    same "$(jq -c '[.layers[].digest]' "$out/dir/manifest.json")" "$(field diff_ids | jq -c .)"
}

case $step in
inspect)
    names=("$name" "$repository@$manifest" "$name@$manifest" "$repository@$list" "$name@$list" "$id")
    found=$("${podman[@]}" image inspect --format '{{.Id}}' "${names[@]}" | sort -u)
    same "$found" "$id"
    found=$("${podman[@]}" images --no-trunc --format '{{.ID}} {{.ReadOnly}}' "$name")
    same "$found" "sha256:$id true"
    ;;
run)
    listing "${podman[@]}" run "${flags[@]}"
    cp "$out/listing" "/in/out/ours/$short"
    ;;
userns-auto)
    listing "${podman[@]}" run --userns=auto "${flags[@]}"
    cmp "$out/listing" "/in/out/ours/$short"
    ;;
uidmap)
    listing "${podman[@]}" run --uidmap 0:10000000:4000000 --gidmap 0:10000000:4000000 "${flags[@]}"
    cmp "$out/listing" "/in/out/ours/$short"
    ;;
copy-out) copied_out "$skopeo_ours" ;;
save-docker)
    "${podman[@]}" save -q --format docker-archive -o "$out/saved.tar" "$name"
    tar -xOf "$out/saved.tar" manifest.json >"$out/manifest"
    same "$(tar -xOf "$out/saved.tar" "$(jq -r '.[0].Config' "$out/manifest")" | sha256sum)" "$id  -"
    jq -r '.[0].Layers[]' "$out/manifest" | while read -r layer; do
        echo "sha256:$(tar -xOf "$out/saved.tar" "$layer" | sha256sum | cut -d' ' -f1)"
    done >"$out/layers"
    same "$(jq -R . "$out/layers" | jq -cs .)" "$(field diff_ids | jq -c .)"
    ;;
save-oci)
    "${podman[@]}" save -q --format oci-archive -o "$out/saved.tar" "$name"
    tar -xOf "$out/saved.tar" index.json >"$out/index"
    saved=$(jq -r '.manifests[0].digest' "$out/index")
    tar -xOf "$out/saved.tar" "blobs/sha256/${saved#sha256:}" >"$out/manifest"
    same "$(jq -r .config.digest "$out/manifest")" "$config"
    same "$(jq '.layers | length' "$out/manifest")" "$(field diff_ids | jq length)"
    ;;
commit)
    "${podman[@]}" run --name changed "${flags[@]/--rm/--interactive=false}" "$name" /bin/sh -c 'echo new >/new'
    trap '"${podman[@]}" rm -f changed >/dev/null' EXIT
    "${podman[@]}" commit -q changed localhost/changed:1
    same "$("${podman[@]}" run "${flags[@]}" localhost/changed:1 /bin/cat /new)" new
    ;;
build)
    printf 'FROM %s\nRUN echo built >/built\n' "$name" >/tmp/Containerfile
    "${podman[@]}" build -q --pull=never --isolation chroot --ulimit nproc=9000:9000 --ulimit nofile=20000:20000 \
        -t localhost/built:1 -f /tmp/Containerfile /tmp
    same "$("${podman[@]}" run "${flags[@]}" localhost/built:1 /bin/cat /built)" built
    ;;
# The same image in a store of Podman's own, to compare with.
peer-unpacks) skopeo --insecure-policy copy -q "oci:$(field layout):$name" "$skopeo_theirs" ;;
peer-runs)
    listing podman --root /in/ref --runroot /run/ref "${common[@]}" run "${flags[@]}"
    cp "$out/listing" "/in/out/theirs/$short"
    ;;
peer-copies-out) copied_out "$skopeo_theirs" ;;
*)
    echo "no step $step" >&2
    exit 2
    ;;
esac
