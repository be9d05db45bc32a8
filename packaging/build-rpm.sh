#!/usr/bin/env bash
# build-rpm.sh DIST OUT [RPMBUILD-OPTION]...: builds the RPM packages, source and binary, from the archives in DIST. Where it works is
# BUILD_IN (a new directory). With a Rust that is no package: --nodeps.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dist=$(realpath "${1:?usage: build-rpm.sh DIST OUT [OPTION]...}") out=${2:?usage: build-rpm.sh DIST OUT [OPTION]...}
shift 2
command -v rpmbuild >/dev/null || { echo "build-rpm.sh: needs rpmbuild (dnf install rpm-build, apt-get install rpm)" >&2; exit 2; }

mkdir -p "$out"
out=$(realpath "$out")
work=${BUILD_IN:-$(mktemp -d)}
mkdir -p "$work"
[ -n "${BUILD_IN:-}" ] || trap 'rm -rf "$work"' EXIT
# Times in the package: those of the archive, which are the commit's.
archive=$dist/bound-images-$("$here/version" "$dist").tar.xz
: "${SOURCE_DATE_EPOCH:=$(tar --list --verbose --full-time --utc -f "$archive" | awk 'NR == 1 { print $4 " " $5 }' | date --utc --file - +%s)}"
export SOURCE_DATE_EPOCH
options=(--define "_sourcedir $dist" --define "_rpmdir $out" --define "_srcrpmdir $out"
    --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' --define '_buildhost reproducible'
    --define 'use_source_date_epoch_as_buildtime 1' --define 'source_date_epoch_from_changelog 0'
    --define 'build_mtime_policy clamp_to_source_date_epoch' --define 'clamp_mtime_to_source_date_epoch 1' "$@")
# A source package holds the spec with all macros expanded, and a binary one that is built with it holds its digest: apart, and the
# former with a place that is relative, neither knows where it was built.
cd "$work"
rpmbuild -bs --define '_topdir .' "${options[@]}" "$here/bound-images.spec"
rpmbuild -bb --define "_topdir $work" "${options[@]}" "$here/bound-images.spec"
