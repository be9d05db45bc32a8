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
# Done once: a stamp over this script and mkimage.py says whether what is there is still right.
# Remove target/corpus to build anew (newer packages, then). Needs root, mmdebstrap, python3, zstd.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/target/corpus/debian

say() { printf 'corpus: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

[ "$(id -u)" = 0 ] || fail "building the Debian images needs root (chroot, mounts, device nodes)"
for tool in mmdebstrap python3 zstd flock unshare apt-get; do
    command -v "$tool" >/dev/null || fail "needs $tool; tests/setup/install-tools.sh test installs it"
done

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
stamp=$(cat "$here/debian-images.sh" "$here/mkimage.py" | sha256sum | cut -d' ' -f1)-$codename

# Tests run in parallel: one builds, the others wait for it.
mkdir -p "$(dirname "$out")"
exec 9>"$out.lock"
flock 9
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "$out/images.json"
    exit 0
fi

# All mounts below live in a mount namespace of this script's own: however it ends, none is left.
if [ -z "${CORPUS_IN_NAMESPACE:-}" ]; then
    CORPUS_IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi

rm -rf "$out"
mkdir -p "$out/work/debs" "$out/layout"
# The uppers are on a tmpfs: target/ may itself be on an overlay, which cannot carry another's upper.
mkdir "$out/work/overlay"
mount -t tmpfs -o mode=0755 corpus "$out/work/overlay"

# The mirrors are those that this machine's own apt uses, and so is the way to them (proxies).
[ -n "$(apt-get indextargets 'Created-By: Packages' 'Origin: Debian')" ] || {
    say "apt-get update: the machine has no package lists"
    apt-get -qq update >&2
}
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' 'Origin: Debian' 'Component: main' |
    sort -u | awk -v c="$codename" '$3 == c || $3 == c "-updates" || $3 == c "-security"' >"$out/work/sources"
[ -s "$out/work/sources" ] || fail "apt on this machine has no Debian $codename sources to build from"
apt-config dump | grep -E '^Acquire::(http|https|ftp|Check|Retries)' >"$out/work/apt.conf" || true

export SOURCE_DATE_EPOCH=1700000000 DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
packages=(nginx-light redis-server python3)

# Everything is downloaded by the outer apt (its network, its resolver); the images are then made
# offline.
download='APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq --yes --no-install-recommends --download-only'
hooks=()
for package in "${packages[@]}"; do
    mkdir -p "$out/work/debs/$package/partial"
    hooks+=(--customize-hook="$download -o Dir::Cache::Archives='$out/work/debs/$package' install $package")
done
base=$out/work/base
say "base: mmdebstrap $codename"
mmdebstrap --quiet --mode=root --variant=apt --aptopt="$out/work/apt.conf" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "${hooks[@]}" "$codename" "$base" - <"$out/work/sources" >&2
rm -f "$base"/etc/apt/apt.conf.d/99mmdebstrap "$base"/etc/apt/sources.list "$base"/etc/{resolv.conf,hostname}

# Files that change with every run and that no image needs.
tidy() {
    rm -rf "$1"/var/{log,tmp}/* "$1"/tmp/* "$1"/var/cache/{apt,ldconfig}/* "$1"/var/lib/apt/lists/* \
        "$1"/var/lib/dpkg/*-old "$1"/var/cache/debconf/*-old "$1"/etc/*-
}
tidy "$base"

mkimage() { python3 "$here/mkimage.py" "$@"; }
say "base: packing"
base_layer=$(mkimage layer "$out/layout" "$base")

# image NAME PACKAGE COMPRESSION COMMAND...: one image, its second layer the upper of an overlay.
image() {
    local name=$1 package=$2 compression=$3 dir=$out/work/overlay/$2
    shift 3
    say "$name: installing $package"
    mkdir -p "$dir"/{upper,work,merged}
    # redirect_dir and metacopy would put into xattrs what a layer has to say with files.
    mount -t overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work,redirect_dir=off,metacopy=off" \
        corpus "$dir/merged"
    mount --bind "$out/work/debs/$package" "$dir/merged/mnt"
    mount -t proc proc "$dir/merged/proc"
    printf '#!/bin/sh\nexit 101\n' >"$dir/merged/usr/sbin/policy-rc.d"
    chmod 755 "$dir/merged/usr/sbin/policy-rc.d"
    chroot "$dir/merged" sh -c 'apt-get -qq --yes --no-install-recommends -o Dpkg::Use-Pty=0 install /mnt/*.deb' \
        >"$dir/log" 2>&1 || { tail -20 "$dir/log" >&2; fail "$package did not install"; }
    if [ "$package" = python3 ]; then
        # What a layer can do to the one below it: hide a file, replace a directory.
        rm "$dir/merged/etc/issue.net"
        rm -r "$dir/merged/usr/share/common-licenses"
        mkdir "$dir/merged/usr/share/common-licenses"
        echo 'see the base layer' >"$dir/merged/usr/share/common-licenses/README"
    fi
    rm "$dir/merged/usr/sbin/policy-rc.d"
    umount "$dir/merged/proc" "$dir/merged/mnt"
    tidy "$dir/merged"
    umount "$dir/merged"
    mkimage image "$out/layout" --ref "registry.test/debian/$name:1" \
        --layer "$base_layer" --layer "$dir/upper=$compression" \
        --config '{"config":{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}}' --cmd "$@"
}

{
    image nginx nginx-light zstd nginx -g 'daemon off;'
    image redis redis-server gzip redis-server --bind 127.0.0.1
    image python3 python3 gzip python3 --version
} >"$out/work/images"
{ echo '['; sed '$!s/$/,/' "$out/work/images"; echo ']'; } >"$out/images.json"

umount "$out/work/overlay"
rm -rf "$out/work"
echo "$stamp" >"$out/stamp"
say "$(du -sh "$out/layout" | cut -f1) in $out/layout"
echo "$out/images.json"
