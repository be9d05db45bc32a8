#!/usr/bin/env bash
# What `make demo` shows: a root that binds images, made complete from a bundle, listed, verified, and
# a container run from its store. Everything is made below target/demo; no registry is asked.
# BOUND_IMAGES=FILE uses that program instead of building one.
set -euo pipefail
# shellcheck source=tests/setup/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/env.sh"
cd "$project"
demo=target/demo
root=$demo/root
bundle=$demo/bundle

head() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] || head() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*" && "$@"; }

head "Building"
if [ -z "${BOUND_IMAGES:-}" ]; then
    cargo build --release --locked -p bound-images
    BOUND_IMAGES=${CARGO_TARGET_DIR:-target}/release/bound-images
fi
started=$SECONDS
bound-images() { printf '$ bound-images %s\n' "$*" && "$BOUND_IMAGES" "$@"; }
rm -rf "$demo"
mkdir -p "$root/usr/share/containers/systemd" "$root/usr/lib/bootc/bound-images.d"

head "Two small images, packed into a bundle (an OCI layout)"
# Each is one static program and a shared base: a real root file system in 2 MB.
busybox=$(command -v busybox)
mkdir -p "$demo"/image/{bin,etc,proc,sys,dev,tmp,srv} "$demo"/httpd/srv "$demo"/logger/etc
cp "$busybox" "$demo/image/bin/busybox"
for applet in sh cat ls echo httpd logger wget id uname; do ln -s busybox "$demo/image/bin/$applet"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$demo/image/etc/passwd"
echo '<h1>Bound to this root</h1>' >"$demo/httpd/srv/index.html"
echo 'forward=127.0.0.1:514' >"$demo/logger/etc/logger.conf"
mkimage() { python3 tests/corpus/mkimage.py "$@"; }
base=$(mkimage layer "$bundle" "$demo/image")
image() { # name, directory of the upper layer, command: prints the digest of the manifest
    mkimage image "$bundle" --ref "$1" --layer "$base" --layer "$2" --cmd "${@:3}" |
        sed 's/.*"manifest": "\([^"]*\)".*/\1/'
}
httpd=$(image registry.test/demo/httpd:1 "$demo/httpd" /bin/httpd -f -h /srv)
logger=$(image registry.test/demo/logger:1 "$demo/logger" /bin/cat /etc/logger.conf)
echo "registry.test/demo/httpd:1   $httpd"
echo "registry.test/demo/logger:1  $logger"
rm -r "$demo"/{image,httpd,logger}

head "A root with the Quadlets of quadlet-examples/, bound"
quadlets=$root/usr/share/containers/systemd
cp -r quadlet-examples/* "$quadlets"
# What explains them, and what is for the /etc of a host.
rm -r "${quadlets:?}"/{README.md,etc}
use() { sed -i "s|^Image=.*|Image=$2|" "$quadlets/$1"; }
use node-exporter.container "registry.test/demo/httpd@$httpd"
use fluent-bit.image registry.test/demo/logger:1
use security-agent.container "registry.test/demo/logger@$logger"
use worker@.container "registry.test/demo/httpd@$httpd"
use status-page.container "registry.test/demo/httpd:1@$httpd"
use console-proxy.container "registry.test/demo/httpd:1@$httpd"
use console-web.container "registry.test/demo/httpd:1@$httpd"
# fluent-bit's containers are bound by the image that they use.
for quadlet in node-exporter.container fluent-bit.image security-agent.container worker@.container status-page.container \
    console-proxy.container console-web.container; do
    ln -s "../../../share/containers/systemd/$quadlet" "$root/usr/lib/bootc/bound-images.d/$quadlet"
done
(cd "$root" && grep -H '^Image=' usr/share/containers/systemd/*.container usr/share/containers/systemd/*.image)

head "Stage: what would be done, then doing it, then again (nothing to do)"
bound-images stage --root "$root" --bundle "$bundle" --dry-run
bound-images stage --root "$root" --bundle "$bundle"
bound-images stage --root "$root" --bundle "$bundle"

head "List and verify"
bound-images list --root "$root"
bound-images verify --root "$root"

head "Podman's view of the store"
store=$root/usr/lib/containers/storage
ran=
if ! command -v podman >/dev/null; then
    echo "skipped: needs podman"
elif ! tests/demo/podman-on-store.sh "$store" images --digests; then
    echo "podman cannot read the store" && exit 1
else
    echo
    # Printed by the web server's image: the page of its upper layer, by a program of its lower one.
    tests/demo/podman-on-store.sh "$store" run "registry.test/demo/httpd@$httpd" /bin/cat /srv/index.html && ran=yes ||
        echo "podman could not run a container on this machine (see above); the store itself is listed"
fi

head "Done in $((SECONDS - started)) s"
echo "$root binds 7 Quadlets to 2 images; they are in $store,"
echo "verified${ran:+, and a container ran from there without a pull}. Look around; make clean removes it."
