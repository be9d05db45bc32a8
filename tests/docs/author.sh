# shellcheck shell=bash
# shellcheck disable=SC2154  # lib.sh is read before this
# For docs/author.md: the tree of an image, and a registry whose tag moves.
exporter=quay.io/prometheus/node-exporter
image $exporter:v1.8.2
registry_up quay.io
push $exporter:v1.8.2
quadlets=rootfs/usr/share/containers/systemd
links=rootfs/usr/lib/bootc/bound-images.d
mkdir -p "$quadlets" "$links"
# bind NAME LINES: a Quadlet, with a link to it.
bind() {
    printf '%b' "$2" >"$quadlets/$1"
    ln -sfn "../../../share/containers/systemd/$1" "$links/$1"
}
bind node-exporter.container '[Container]\nImage=quay.io/prometheus/node-exporter:v1.8.2\n'
