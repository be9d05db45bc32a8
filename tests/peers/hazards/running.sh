# Containers that run from a store, while others take its place. Pool 1 has the image `bound`; 2 has
# it and one more, and was written anew; 3 does not have it.
bound=registry.test/t/bound:1

running() {
    podman run -d --name "$1" --pull=never "$bound" /bin/sleep 100000
    podman exec "$1" /bin/sh -c 'echo kept > /kept'
}

# goes_on NAME: it runs, what it wrote is there, and so is what it never read before.
goes_on() {
    said running podman ps -a --filter "name=$1" --format '{{.State}}'
    said kept podman exec "$1" /bin/cat /kept
    said bound podman exec "$1" /bin/cat /name
}

# stops, starts and goes: all that a service does with its container.
lives_on() {
    goes_on "$1"
    podman stop -t 0 "$1"
    podman start "$1"
    goes_on "$1"
    podman rm -f -t 0 "$1"
    fails podman container exists "$1"
}

# Published beside it, to be taken at the next boot.
use /in/pool/1
running beside
ls /in/pool/2/overlay-images/images.json /in/pool/3/overlay-images/images.json
lives_on beside

# Mounted over it: the next boot, or an update that does not wait for it.
running over
use /in/pool/2
podman image exists registry.test/t/other:1
lives_on over

# Which takes link ids that stay the same: a store with other ones is of no use to a container.
use /in/pool/1
running relinked
cp -a /in/pool/1 /run/relinked
for link in /run/relinked/overlay/l/*; do
    old=${link##*/}
    new=${old:1}${old:0:1}
    mv "$link" "${link%/*}/$new"
    sed -i "s/$old/$new/" /run/relinked/overlay/*/link /run/relinked/overlay/*/lower
done
use /run/relinked
said bound podman run --rm --pull=never "$bound" /bin/cat /name
podman stop -t 0 relinked
fails podman start relinked
podman rm relinked

# The image is in no store any more.
use /in/pool/1
running gone
use /in/pool/3
fails podman image exists "$bound"
goes_on gone
fails podman inspect gone
podman stop -t 0 gone
fails podman start gone
# What an operator reads.
cat /run/why >&2
grep -q 'overlay/l/[A-Z2-7]*: no such file or directory' /run/why
said exited podman ps -a --filter name=gone --format '{{.State}}'
# With the store of before it starts as if nothing had been; and without it can be removed.
use /in/pool/1
podman start gone
goes_on gone
podman stop -t 0 gone
use /in/pool/3
podman rm gone
fails podman container exists gone

# Exchanged, with the old one kept. Copies, since a store that is mounted cannot be exchanged.
mkdir /in/place
for store in 1 2 3; do cp -a "/in/pool/$store" "/in/place/$store"; done
mv -T /in/place/1 /in/place/storage
mount --bind /in/place /usr/lib/containers
running exchanged
mv -T --exchange /in/place/2 /in/place/storage
podman image exists registry.test/t/other:1
lives_on exchanged
running left
mv -T --exchange /in/place/3 /in/place/storage
goes_on left
podman rm -f -t 0 left

# A stage would remove the old one: it does not take the place of a store that containers run from.
in_root
running used
stage() { /in/bound-images stage --root /in/root --bundle /in/bundle; }
# Built on the machine, for its libraries: where those are newer than the chroot's, this part is left out.
if /in/bound-images --version; then
    fails stage
    cat /run/why >&2
    grep -q 'in use' /run/why
    lives_on used
    stage
    podman image exists registry.test/t/other:1
    fails podman image exists "$bound"
else
    echo "skipped: needs a bound-images that runs on Debian trixie, for a stage over a store in use"
fi
podman rm -f -t 0 --ignore used
[ -z "$(podman ps -aq)" ]
echo judged
