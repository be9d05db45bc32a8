# shellcheck shell=bash disable=SC2154
# Sourced by scripts that build images out of Debian packages: tests/corpus/debian-images.sh and
# bench/corpus.sh. A base system is one layer, made once; an image is that and the upper directory of an overlay
# in which packages were installed. What an image needs is downloaded while the base is made, by the
# machine's own apt (its mirrors, its network); the images are then made offline.
#
# The script that sources it sets `out`, the directory that it makes, and calls, in this order:
#   debian_begin TOOL...                      may we, can we
#   debian_once STAMP RESULT ARGUMENTS...     one at a time, once, in a mount namespace of its own
#   debian_sources FILE SUITE...              for each kind of sources
#   debian_download DIRECTORY PACKAGE...      for each image
#   debian_base SOURCES                       makes $out/work/base; sets base_layer
#   debian_image ...                          each image
#   debian_end STAMP

corpus_room=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
hooks=()

say() { printf 'corpus: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }
mkimage() { python3 "$corpus_room/mkimage.py" "$@"; }

debian_begin() {
    local tool
    [ "$(id -u)" = 0 ] || fail "building Debian images needs root (chroot, mounts, device nodes)"
    for tool in mmdebstrap python3 zstd flock unshare apt-get; do
        command -v "$tool" >/dev/null || fail "needs $tool; tests/setup/install-tools.sh test installs it"
    done
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
}

# What the result depends on: these files, and the release.
debian_stamp() { echo "$(cat "$corpus_room/debian.sh" "$corpus_room/mkimage.py" "$@" | sha256sum | cut -d' ' -f1)-$codename"; }

# debian_once STAMP RESULT [ARGUMENT...]: prints RESULT and ends the script when it is there already.
# Several may want it at the same time: one builds, the others wait for it.
debian_once() {
    mkdir -p "$(dirname "$out")"
    exec 9>"$out.lock"
    flock 9
    if [ "$(cat "$out/stamp" 2>/dev/null)" = "$1" ]; then
        echo "$2"
        exit 0
    fi
    # All mounts below live in a mount namespace of this script's own: however it ends, none is left.
    if [ -z "${CORPUS_IN_NAMESPACE:-}" ]; then
        CORPUS_IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "${@:3}"
    fi
    rm -rf "$out"
    mkdir -p "$out/work/debs" "$out/work/overlay" "$out/layout"
    # The uppers are on a tmpfs: target/ may itself be on an overlay, which cannot carry another's upper.
    mount -t tmpfs -o mode=0755 corpus "$out/work/overlay"
    export SOURCE_DATE_EPOCH=1700000000 DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
    # The mirrors are those that this machine's own apt uses, and so is the way to them (proxies).
    [ -n "$(apt-get indextargets 'Created-By: Packages' 'Origin: Debian')" ] || {
        say "apt-get update: the machine has no package lists"
        apt-get -qq update >&2
    }
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Check|Retries)' >"$out/work/apt.conf" || true
}

debian_sources() {
    local file=$1
    shift
    # The fields are apt's, not the shell's.
    # shellcheck disable=SC2016
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' 'Component: main' |
        sort -u | awk -v wanted=" $* " 'index(wanted, " " $3 " ")' >"$file"
    [ -s "$file" ] || fail "apt on this machine has no sources of $* to build from"
}

# What is downloaded, in the base as it then is: --customize-hook of mmdebstrap.
# The variable is mmdebstrap's.
# shellcheck disable=SC2016
download='APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq --yes --no-install-recommends'
debian_download() {
    local directory=$1
    shift
    mkdir -p "$directory/partial"
    hooks+=(--customize-hook="$download --download-only -o Dir::Cache::Archives='$directory' $source_options install $*")
}
source_options=

# debian_other_sources FILE: what is downloaded from here on comes from FILE's sources, not from the base's.
debian_other_sources() {
    mkdir -p "$1.lists/partial"
    source_options="-o Dir::Etc::SourceList='$1' -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists='$1.lists'"
    hooks+=(--customize-hook="$download $source_options update")
}

# Files that change with every run and that no image needs.
tidy() {
    rm -rf "$1"/var/{log,tmp}/* "$1"/tmp/* "$1"/var/cache/{apt,ldconfig}/* "$1"/var/lib/apt/lists/* \
        "$1"/var/lib/dpkg/*-old "$1"/var/cache/debconf/*-old "$1"/etc/*-
}

debian_base() {
    base=$out/work/base
    say "base: mmdebstrap $codename"
    mmdebstrap --quiet --mode=root --variant=apt --aptopt="$out/work/apt.conf" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        "${hooks[@]}" "$codename" "$base" - <"$1" >&2
    rm -f "$base"/etc/apt/apt.conf.d/99mmdebstrap "$base"/etc/apt/sources.list "$base"/etc/{resolv.conf,hostname}
    tidy "$base"
    say "base: packing"
    base_layer=$(mkimage layer "$out/layout" "$base")
}

# debian_image REFERENCE DEBS COMPRESSION COMMAND...: one image, its second layer what the packages in
# the directory DEBS add. A function `debian_after MERGED DEBS` may change the result before it is packed.
debian_image() {
    local reference=$1 debs=$2 compression=$3 dir
    dir=$out/work/overlay/$(basename "$debs")
    shift 3
    say "$reference: installing $(basename "$debs")"
    mkdir -p "$dir"/{upper,work,merged}
    # redirect_dir and metacopy would put into xattrs what a layer has to say with files.
    mount -t overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work,redirect_dir=off,metacopy=off" \
        corpus "$dir/merged"
    mount --bind "$debs" "$dir/merged/mnt"
    mount -t proc proc "$dir/merged/proc"
    printf '#!/bin/sh\nexit 101\n' >"$dir/merged/usr/sbin/policy-rc.d"
    chmod 755 "$dir/merged/usr/sbin/policy-rc.d"
    chroot "$dir/merged" sh -c 'apt-get -qq --yes --no-install-recommends -o Dpkg::Use-Pty=0 install /mnt/*.deb' \
        >"$dir/log" 2>&1 || { tail -20 "$dir/log" >&2; fail "$reference: its packages did not install"; }
    if declare -F debian_after >/dev/null; then debian_after "$dir/merged" "$(basename "$debs")"; fi
    rm "$dir/merged/usr/sbin/policy-rc.d"
    umount "$dir/merged/proc" "$dir/merged/mnt"
    tidy "$dir/merged"
    umount "$dir/merged"
    mkimage image "$out/layout" --ref "$reference" \
        --layer "$base_layer" --layer "$dir/upper=$compression" \
        --config '{"config":{"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}}' --cmd "$@"
    # It was packed: the memory is wanted for the next.
    rm -rf "$dir"
}

debian_end() {
    umount "$out/work/overlay"
    rm -rf "$out/work"
    echo "$1" >"$out/stamp"
    say "$(du -sh "$out/layout" | cut -f1) in $out/layout"
}
