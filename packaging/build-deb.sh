#!/usr/bin/env bash
# build-deb.sh DIST OUT: builds the Debian packages, source and binary, from the archives in DIST. Where it works is
# BUILD_IN (a new directory). With a Rust that is not Debian's: DEB_BUILD_PROFILES=pkg.bound-images.rustup.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dist=$(realpath "${1:?usage: build-deb.sh DIST OUT}") out=${2:?usage: build-deb.sh DIST OUT}
version=$("$here/version" "$dist")
command -v dh >/dev/null || { echo "build-deb.sh: needs debhelper (apt-get install debhelper)" >&2; exit 2; }

mkdir -p "$out"
out=$(realpath "$out")
work=${BUILD_IN:-$(mktemp -d)}
mkdir -p "$work"
[ -n "${BUILD_IN:-}" ] || trap 'rm -rf "$work"' EXIT
for component in '' -vendor; do
    cp "$dist/bound-images-$version$component.tar.xz" "$work/bound-images_$version.orig$component.tar.xz"
done
cd "$work"
tar -xf "bound-images_$version.orig.tar.xz"
cd "bound-images-$version"
tar -xf "../bound-images_$version.orig-vendor.tar.xz"
cp -a packaging/debian debian
dpkg-buildpackage --unsigned-source --unsigned-changes
mv ../*.deb ../*.dsc ../*.orig* ../*.debian.tar.xz ../*.changes ../*.buildinfo "$out"
