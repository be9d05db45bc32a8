#!/usr/bin/env bash
# chroot.sh trixie|forky|experimental|packaging: a chroot of that Debian suite with its container tools, made
# once below target/chroots, for tests with newer peers than the machine has. Prints its path. Exit 2 when it
# cannot be made here. Experimental is Debian sid with Podman from there, for version 6; exit 2 also
# when that has none. Packaging is trixie with what builds and judges packages.
set -euo pipefail
# shellcheck source=tests/setup/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
suite=${1:?usage: chroot.sh trixie|forky|experimental|packaging}
case $suite in
    trixie) packages=podman,skopeo,crun,containers-storage,netavark,ca-certificates,jq ;;
    forky) packages=skopeo,ca-certificates ;;
    experimental) packages=podman,crun,netavark,ca-certificates,jq ;;
    packaging) packages=build-essential,debhelper,lintian,rpm,rpmlint,systemd,policycoreutils,selinux-policy-default,attr ;;
    *) echo "chroot.sh: no suite $suite" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "chroot.sh: needs root" >&2; exit 2; }
command -v mmdebstrap >/dev/null || { echo "chroot.sh: needs mmdebstrap" >&2; exit 2; }
base=${suite/packaging/trixie} hooks=()
if [ "$suite" = experimental ]; then
    # It is no suite by itself, and apt takes nothing from there unless it is told to. The line of sid says
    # where from. Podman's configuration files come from there too.
    base=sid
    # shellcheck disable=SC2016
    hooks=(--setup-hook='cd "$1/etc/apt" &&
        sed "s/ sid main/ experimental main/" sources.list >sources.list.d/experimental.list &&
        mkdir -p preferences.d &&
        printf "%s\n" "Package: podman golang-github-containers-common" \
            "Pin: release a=experimental" "Pin-Priority: 990" \
            >preferences.d/experimental')
fi
directory=$project/target/chroots/$suite
mkdir -p "$project/target/chroots"
# The lock is also held by who works in the chroot (tests/peers/in-chroot.sh): only who builds waits for it.
if [ "$(cat "$directory.stamp" 2>/dev/null)" = "$packages" ]; then
    echo "$directory"
    exit
fi
# Parallel tests build it once.
exec 9>"$directory.lock"
flock 9
if [ "$(cat "$directory.stamp" 2>/dev/null)" != "$packages" ]; then
    echo "making a chroot of Debian $suite in $directory" >&2
    rm -rf --one-file-system "$directory" "$directory.stamp"
    # Testing's lists may be older than they say they are good for, where a mirror lags behind.
    # mmdebstrap takes the mirror from its own default, and the keys of all suites from the machine.
    mmdebstrap --quiet --variant=apt --aptopt='Acquire::Check-Valid-Until "false"' \
        "${hooks[@]}" --include="$packages" "$base" "$directory" >"$directory.log" 2>&1 || {
        tail -5 "$directory.log" >&2
        exit 2
    }
    mkdir -p "$directory/usr/lib/containers/storage" "$directory/in"
    printf %s "$packages" >"$directory.stamp"
fi
if [ "$suite" = experimental ]; then
    # shellcheck disable=SC2016
    version=$(chroot "$directory" dpkg-query -W -f '${Version}' podman)
    case $version in
        [0-5].*) echo "chroot.sh: Podman 6 (Debian experimental has podman $version)" >&2; exit 2 ;;
    esac
fi
echo "$directory"
