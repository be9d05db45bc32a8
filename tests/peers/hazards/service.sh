# A `podman system service` that runs all the time sees what is published, at once.

# serve SOCKET: starts one, and waits until it answers.
serve() {
    podman system service --time=0 "unix://$1" >/run/service.log 2>&1 &
    for _ in $(seq 200); do
        if [ -S "$1" ] && podman --remote --url "unix://$1" version >/dev/null 2>&1; then return; fi
        sleep 0.05
    done
    cat /run/service.log >&2
    exit 1
}

remote() { podman --remote --url unix:///run/service.sock "$@"; }
names() { podman --remote --url "unix://$1" images --format '{{.Repository}}:{{.Tag}}' | sort | xargs; }

in_root
serve /run/service.sock
said registry.test/t/bound:1 names /run/service.sock
step other
said registry.test/t/other:1 names /run/service.sock
said "$OTHER_ID" remote image inspect --format '{{.Id}}' registry.test/t/other:1
fails remote image inspect registry.test/t/bound:1
step nothing
said '' names /run/service.sock
remote ps -a
remote info >/run/info
step bound
said registry.test/t/bound:1 names /run/service.sock
said bound remote run --rm --pull=never registry.test/t/bound:1 /bin/cat /name
# The skeleton takes its place, and the store comes back.
mkdir /in/place
/in/storage-skeleton /in/place/storage
mount --bind /in/place /usr/lib/containers
said '' names /run/service.sock
cp -a /in/pool/1 /in/place/next
mv -T --exchange /in/place/next /in/place/storage
said registry.test/t/bound:1 names /run/service.sock
mv -T --exchange /in/place/next /in/place/storage
said '' names /run/service.sock
kill %1

# The same without what our lock files hold: it goes on with what it knew, or fails.
for store in 1 2; do
    cp -a "/in/pool/$store" "/in/place/$store"
    truncate -s 0 "/in/place/$store/overlay-layers/layers.lock" "/in/place/$store/overlay-images/images.lock"
done
mv -T --exchange /in/place/1 /in/place/storage
serve /run/other.sock
said registry.test/t/bound:1 names /run/other.sock
mv -T --exchange /in/place/2 /in/place/storage
seen=$(names /run/other.sock || true)
[ "$seen" != registry.test/t/other:1 ]
echo judged
