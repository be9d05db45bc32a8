#!/usr/bin/env bash
# security.sh: the table in docs/units.md, from what `systemd-analyze security` says of the files here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
version=$(systemd-analyze --version | awk 'NR == 1 { print $2 }')
echo "| unit | exposure (systemd $version) | |"
echo "|---|---|---|"
for unit in *.service; do
    overall=$(systemd-analyze security --offline=true --no-pager "$unit" | grep 'Overall exposure level')
    read -r figure word _ <<<"${overall##*: }"
    echo "| \`$unit\` | $figure | $word |"
done
