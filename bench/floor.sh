#!/usr/bin/env bash
# floor.sh LIST DIRECTORY: what fetching, decompressing, hashing and unpacking cost at the least, with the
# programs that everybody has: each distinct layer once, two at a time. No store comes of it, no digest of a
# blob is checked, nothing of what a hostile layer does is met.
#
# LIST has a line for each layer: URL, compression (gzip, zstd, none), diff id (sha256, hex), largest first.
set -euo pipefail
if [ "${1:-}" != --layer ]; then
    mkdir -p "$2"
    exec xargs -r -P 2 -L 1 "$0" --layer "$2" <"$1"
fi

directory=$2/$5 url=$3
case $4 in
gzip) unpack=(gzip -dc) ;;
zstd) unpack=(zstd -qdc) ;;
*) unpack=(cat) ;;
esac
mkdir "$directory"
mkfifo "$directory.hash"
sha256sum <"$directory.hash" >"$directory.sum" &
curl -fsS "$url" | "${unpack[@]}" | tee "$directory.hash" |
    tar -x --numeric-owner --same-permissions --xattrs --xattrs-include='*' -C "$directory"
wait
read -r sum _ <"$directory.sum"
if [ "$sum" != "$5" ]; then
    echo "floor.sh: $url is $sum, not $5" >&2
    exit 255 # xargs stops
fi
