#!/usr/bin/env bash
# registry.sh DATA PORT LOG: runs docker-registry on 127.0.0.1:PORT in the foreground.
# registry.sh --wait PORT: returns when it answers, fails after 20 seconds.
set -euo pipefail
if [ "$1" = --wait ]; then
    for _ in $(seq 200); do
        if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then exit; fi
        sleep 0.1
    done
    echo "registry.sh: nothing answers on port $2 after 20 s" >&2
    exit 1
fi
cat >"$3.yml" <<CONFIG
version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage: {filesystem: {rootdirectory: $1}, delete: {enabled: false}}
http: {addr: "127.0.0.1:$2"}
CONFIG
exec docker-registry serve "$3.yml" >"$3" 2>&1
