#!/usr/bin/env bash
# dist.sh [DIRECTORY]: the two archives that distributions build from, in target/dist unless said otherwise:
#
#   bound-images-VERSION.tar.xz          the sources, as they are committed
#   bound-images-VERSION-vendor.tar.xz   vendor/: the crates of Cargo.lock, and config.toml, which points cargo there
#
# The same commit gives the same bits: names are sorted, owners are 0, times are SOURCE_DATE_EPOCH or the commit's. In an
# unpacked archive there is no git: then it is all files of the tree, and the time of Cargo.toml.
set -euo pipefail
# shellcheck source=tests/setup/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/setup/env.sh"
dist=$(realpath -m "${1:-$project/target/dist}")
name=bound-images-$("$project/packaging/version")
export LC_ALL=C TZ=UTC

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$dist" "$work/$name"
cd "$project"
if [ -e .git ]; then
    [ -z "$(git status --porcelain)" ] || echo "dist: changes that are not committed are left out" >&2
    : "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
    git archive HEAD | tar -x -C "$work/$name"
else
    : "${SOURCE_DATE_EPOCH:=$(stat -c %Y Cargo.toml)}"
    # What is made in the tree by a build, and by who packages it.
    tar -c --exclude=./target --exclude=./vendor --exclude=./.cargo --exclude=./debian . | tar -x -C "$work/$name"
fi

# pack ARCHIVE DIRECTORY: under a name of its own until it is whole. xz with two threads writes the same blocks however
# many there are.
pack() {
    tar -C "$work" -c --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX "$2" | xz -6 -T2 >"$dist/$1.new"
    mv "$dist/$1.new" "$dist/$1"
    echo "$dist/$1"
}

(cd "$work/$name" && cargo --quiet vendor --locked "$work/vendor" >/dev/null)
# Crates that only Windows compiles are two thirds of it, mostly libraries for its linker. Cargo wants them to be there,
# whatever is in them.
for crate in "$work"/vendor/windows*; do
    find "$crate" -mindepth 1 -maxdepth 1 ! -name Cargo.toml ! -name .cargo-checksum.json -exec rm -rf {} +
    mkdir "$crate/src"
    : >"$crate/src/lib.rs"
    sed -i 's/"files":{[^}]*}/"files":{}/' "$crate/.cargo-checksum.json"
done
cat >"$work/vendor/config.toml" <<'TOML'
[source.crates-io]
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "vendor"

[net]
offline = true
TOML
pack "$name.tar.xz" "$name"
pack "$name-vendor.tar.xz" vendor
