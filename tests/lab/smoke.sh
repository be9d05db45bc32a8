#!/bin/bash
# What is in the guest and how long it took to come up: `lab up --smoke`.
set -e
uname -r
ostree --version | head -2
podman --version
skopeo --version
systemctl is-system-running || true
systemctl list-units --failed --no-legend --plain
ostree admin status
ip -brief address
systemd-analyze time
systemd-analyze blame | sed -n 1,15p
