# conformance.sh, run by in-chroot.sh: the steps of conformance-step.sh on every image, then Podman's checks of
# the stores. In /in: images.json (each image with the store that it is in, and its steps), stores, steps (that
# script), layout. Writes to /in/out: results, a line for each step, IMAGE STEP ok or what was said last; and
# what the checks said. tests/conformance.rs knows what is to be expected.
mkdir -p /in/out
: >/in/out/results

jq -c '.[]' /in/images.json >/run/images
while read -r image; do
    name=$(jq -r .name <<<"$image")
    name=${name##*/}
    for step in $(jq -r '.steps[]' <<<"$image"); do
        if bash -euo pipefail /in/steps "$step" "$(jq -r .store <<<"$image")" "$image" >/run/log 2>&1 </dev/null; then
            echo "${name%:*} $step ok"
            continue
        fi
        echo "${name%:*} $step $(grep -v '^$' /run/log | tail -n 1 | cut -c 1-8000)"
        # What Podman could not unpack, it can neither run nor copy.
        [ "$step" != peer-unpacks ] || break
    done >>/in/out/results
done </run/images

check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" >"/in/out/$name" 2>&1; then echo clean >>"/in/out/$name"; fi
}
mkdir -p /run/k
for at in /usr/lib/containers/storage /in/apart /in/chunked; do
    check "read-only-$(basename $at)" podman --root /run/k/root --runroot /run/k/run --storage-driver overlay \
        --storage-opt additionalimagestore=$at system check
done
# Only in a store of its own does Podman look at each file.
cp -a /usr/lib/containers/storage /in/copy
check own-podman podman --root /in/copy --runroot /run/c --storage-driver overlay system check
check own-containers-storage containers-storage check --graph /in/copy --run /run/c --storage-driver overlay
check peers-podman podman --root /in/ref --runroot /run/ref --storage-driver overlay system check
echo judged
