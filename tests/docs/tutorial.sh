# shellcheck shell=bash
# shellcheck disable=SC2154  # lib.sh is read before this
# For docs/tutorial.md: a registry with two versions of one image, and nothing else.
exporter=quay.io/prometheus/node-exporter
# As in the real image: what the page types works with that, too.
FILE=bin/node_exporter
image $exporter:v1.8.2
image $exporter:v1.9.0
registry_up quay.io
push $exporter:v1.8.2
mv bundle later
