#!/usr/bin/env bash
# Builds the images of `make bench` out of Debian packages: seven that share their base layer, gzip and
# zstd, one of them about 400 MB unpacked; and a second generation of one, which is a real security
# update: the first is installed from the release alone, the second from -security and -updates too, on the
# same base.
#
# Writes target/bench/corpus/layout (an OCI layout) and target/bench/corpus/corpus.json:
#   {"what": TEXT, "first": [IMAGE...], "second": [IMAGE...], "update": "OLD -> NEW package", "updated": NAME}
# IMAGE is what tests/corpus/mkimage.py prints; the second generation has all images, and differs in one.
# The path of that file is the only thing on stdout. Done once, as tests/corpus/debian-images.sh is.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/.." && pwd)/target/bench/corpus
# shellcheck source=tests/corpus/debian.sh
. "$here/../tests/corpus/debian.sh"

debian_begin
stamp=$(debian_stamp "$here/corpus.sh")
debian_once "$stamp" "$out/corpus.json"
debs=$out/work/debs
debian_sources "$out/work/release" "$codename"
debian_sources "$out/work/updates" "$codename" "$codename-updates" "$codename-security"

# name | compression of its layer | packages | command
images='nginx|zstd|nginx-light|nginx -g daemon\ off;
redis|gzip|redis-server|redis-server --bind 127.0.0.1
node-exporter|gzip|prometheus-node-exporter|prometheus-node-exporter
haproxy|zstd|haproxy|haproxy -v
logger|zstd|rsyslog|rsyslogd -n
python3|gzip|python3|python3 --version
postgresql|gzip|postgresql|postgres --version'
# The one that gets the security update.
updated=haproxy

while IFS='|' read -r name _ packages _; do
    debian_download "$debs/$name" "$packages"
done <<<"$images"
debian_other_sources "$out/work/updates"
debian_download "$debs/$updated.2" "$(sed -n "s/^$updated|[^|]*|\([^|]*\)|.*/\1/p" <<<"$images")"
debian_base "$out/work/release"

# An update that updates nothing would be a benchmark of nothing.
was=$(cd "$debs/$updated" && printf '%s\n' "$updated"_*.deb) is=$(cd "$debs/$updated.2" && printf '%s\n' "$updated"_*.deb)
[ "$was" != "$is" ] || fail "-security has no newer $updated than the release has: choose another image in bench/corpus.sh"

first=$out/work/first second=$out/work/second
while IFS='|' read -r name compression _ command; do
    read -ra words <<<"$command"
    debian_image "bench/$name:1" "$debs/$name" "$compression" "${words[@]}" >>"$first"
    if [ "$name" = "$updated" ]; then
        debian_image "bench/$name:2" "$debs/$name.2" "$compression" "${words[@]}" >>"$second"
    else
        tail -n 1 "$first" >>"$second"
    fi
done <<<"$images"
python3 - "$first" "$second" "Debian $codename" "${was%.deb} -> ${is%.deb}" "$updated" >"$out/corpus.json" <<'PYTHON'
import json, sys
first, second = ([json.loads(line) for line in open(path)] for path in sys.argv[1:3])
json.dump({"what": sys.argv[3], "first": first, "second": second, "update": sys.argv[4], "updated": sys.argv[5]}, sys.stdout, indent=1)
PYTHON
debian_end "$stamp"
echo "$out/corpus.json"
