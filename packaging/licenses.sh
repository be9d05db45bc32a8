#!/usr/bin/env bash
# licenses.sh: the crates that are linked into the programs, and the licence of each: what a package has to say of them.
set -euo pipefail
# shellcheck source=tests/setup/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/setup/env.sh"
cd "$project"
cargo tree --locked -p bound-images -p bound-images-generator -p bound-images-hook --edges normal,no-proc-macro --no-dedupe \
    --prefix none --format '{p} | {l}' | sed 's/ (\*)$//; s/ ([^()]*) | / | /; /^$/d' | LC_ALL=C sort -u
