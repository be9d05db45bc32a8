#!/usr/bin/env bash
# chroot.sh trixie|forky: a chroot of that Debian suite with its container tools, made once below
# target/chroots, for tests with newer peers than the machine has. Prints its path. Exit 2 when it
# cannot be made here.
set -euo pipefail
# shellcheck source=tests/setup/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
suite=${1:?usage: chroot.sh trixie|forky}
case $suite in
    trixie) packages=podman,skopeo,crun,containers-storage,netavark,ca-certificates,jq ;;
    forky) packages=skopeo,ca-certificates ;;
    *) echo "chroot.sh: no suite $suite" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "chroot.sh: needs root" >&2; exit 2; }
command -v mmdebstrap >/dev/null || { echo "chroot.sh: needs mmdebstrap" >&2; exit 2; }
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
        --include="$packages" "$suite" "$directory" >"$directory.log" 2>&1 || {
        tail -5 "$directory.log" >&2
        exit 2
    }
    mkdir -p "$directory/usr/lib/containers/storage" "$directory/in"
    printf %s "$packages" >"$directory.stamp"
fi
echo "$directory"
