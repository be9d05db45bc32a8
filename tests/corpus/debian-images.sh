#!/usr/bin/env bash
# Builds three real images out of Debian packages, for tests that ask peers about real input:
#
#   registry.test/debian/nginx:1    base (gzip) + nginx-light (zstd)
#   registry.test/debian/redis:1    base (gzip) + redis-server (gzip)
#   registry.test/debian/python3:1  base (gzip) + python3 (gzip), with a whiteout and an opaque directory
#
# into target/corpus/debian/layout (an OCI layout), and writes target/corpus/debian/images.json:
# a list of {name, manifest, config, platform, diff_ids, layers, size}, digests as "sha256:hex". The path
# of that file is the only thing on stdout.
#
# Done once: a stamp over this script, debian.sh and mkimage.py says whether what is there is still right.
# Remove target/corpus to build anew (newer packages, then). Needs root, mmdebstrap, python3, zstd.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/target/corpus/debian
# shellcheck source=tests/corpus/debian.sh
. "$here/debian.sh"

debian_begin
stamp=$(debian_stamp "$here/debian-images.sh")
debian_once "$stamp" "$out/images.json"
debian_sources "$out/work/sources" "$codename" "$codename-updates" "$codename-security"
for package in nginx-light redis-server python3; do
    debian_download "$out/work/debs/$package" "$package"
done
debian_base "$out/work/sources"

# What a layer can do to the one below it: hide a file, replace a directory.
debian_after() {
    [ "$2" = python3 ] || return 0
    rm "$1/etc/issue.net"
    rm -r "$1/usr/share/common-licenses"
    mkdir "$1/usr/share/common-licenses"
    echo 'see the base layer' >"$1/usr/share/common-licenses/README"
}

# image NAME PACKAGE COMPRESSION COMMAND...
image() { debian_image "registry.test/debian/$1:1" "$out/work/debs/$2" "$3" "${@:4}"; }
{
    image nginx nginx-light zstd nginx -g 'daemon off;'
    image redis redis-server gzip redis-server --bind 127.0.0.1
    image python3 python3 gzip python3 --version
} >"$out/work/images"
{ echo '['; sed '$!s/$/,/' "$out/work/images"; echo ']'; } >"$out/images.json"
debian_end "$stamp"
echo "$out/images.json"
