# shellcheck disable=SC2154 # $at: prelude.sh
# Stores with nothing in them break no podman command: what the packages ship, and what is staged for
# a root that binds nothing any more.

export IMAGE=$REGISTRY/t/floating:1

# every STORE: runs every command with it.
every() {
    local command bad=
    first_day
    use "$1"
    while read -r command; do
        if ! eval "podman $command" </dev/null >/run/out 2>&1; then
            echo "with $1: podman $command: $(cat /run/out)" >&2
            bad=1
        fi
    done </run/commands
    [ -z "$bad" ]
}

cat >/run/commands <<'EOF'
images
images --all --digests
ps
ps --all --size
info
version
system check
system df
pull -q --tls-verify=false $IMAGE
image exists $IMAGE
images --digests
run --rm --pull=never $IMAGE /bin/true
create --name made $IMAGE /bin/sh -c 'echo made > /made'
start --attach made
wait made
logs made
diff made
inspect made
mount made
umount made
cp made:/made /run/copied
export -o /run/exported.tar made
commit -q made localhost/committed:1
history localhost/committed:1
image diff $IMAGE
image tree $IMAGE
image inspect $IMAGE
image mount $IMAGE
image umount $IMAGE
tag $IMAGE localhost/tagged:1
untag $IMAGE localhost/tagged:1
save -q -o /run/saved.tar $IMAGE
load -q -i /run/saved.tar
import -q /run/exported.tar localhost/imported:1
push -q $IMAGE dir:/run/pushed
build -q --isolation chroot --ulimit nproc=9000:9000 --ulimit nofile=20000:20000 --build-arg FROM=$IMAGE -t localhost/built:1 /in/build
run --rm --pull=never localhost/built:1 /bin/cat /built
volume create kept
run --rm --pull=never -v kept:/kept $IMAGE /bin/true
volume ls
volume rm kept
network ls
pod ps
rm made
rmi localhost/committed:1
image prune -f
container prune -f
volume prune -f
system df -v
system check
system prune -f
system prune -af
rmi -af
images
EOF
/in/storage-skeleton /run/skeleton
# All of it, and nothing else.
said "$(printf '%s\n' \
    '755 0:0 /run/skeleton' \
    '700 0:0 /run/skeleton/overlay' \
    '700 0:0 /run/skeleton/overlay-images' \
    '644 0:0 /run/skeleton/overlay-images/images.lock' \
    '700 0:0 /run/skeleton/overlay-layers' \
    '644 0:0 /run/skeleton/overlay-layers/layers.lock')" \
    sh -c 'find /run/skeleton -printf "%m %U:%G %p\n" | LC_ALL=C sort -k 3'
every /run/skeleton
rm -r /run/exported.tar /run/saved.tar /run/pushed
every /in/pool/empty

# What makes the difference. Without the path nothing works at all; with nothing there, or without the
# lock file of the layers, no command that looks at a layer.
first_day
use /run/skeleton
podman pull -q --tls-verify=false "$IMAGE"
podman create --name made "$IMAGE" /bin/true
broken() {
    local command
    for command in images "run --rm --pull=never $IMAGE /bin/true" 'start made' 'system df'; do
        # shellcheck disable=SC2086  # words of a command
        fails podman $command
        cat /run/why >&2
        grep -q 'additional layer stores\|imageStore dir' /run/why
    done
}
mkdir /run/empty
use /run/empty
broken
cp -a /run/skeleton /run/unlocked
rm /run/unlocked/overlay-layers/layers.lock
use /run/unlocked
broken
listed /run/none
broken
fails podman ps
listed "$at"
use /run/skeleton
podman images
podman start --attach made
echo judged
