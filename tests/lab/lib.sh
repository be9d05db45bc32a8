# shellcheck shell=bash disable=SC2154
# Sourced by the scenarios, on the host that runs the machines: steps, boots, the link to the registry, and
# the trees of host versions. `tests/lab/run` sets LAB_STATE, LAB_SNAPSHOT_LOCK, LAB_LINK,
# LAB_PORT, LAB_IMAGES, LAB_REGISTRY_LOG, variant and work.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
boots=0
watchers=() watching=()
trap stop_watching EXIT
mkdir -p "$work/in"

step() { printf -- '-- %s\n' "$*"; }

fail() {
    printf 'FAILED: %s\n' "$*"
    exit 1
}

# expect WHAT WANTED FOUND
expect() { [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"; }

lab() { "$here/lab" "$@" 2>&1; }

# guest [options of `lab boot`]: one boot; the script comes on standard input and runs after guest.sh.
# All that is in $work/in lies beside it. Without --end, the machine is then switched off: its disk counts no more. A failure shows the journal of what matters here.
guest() { boot_for 0 "$@"; }

# boot_for STATUS [options]: a boot whose `lab boot` has to end with STATUS.
boot_for() {
    local wanted=$1 status=0
    shift
    boots=$((boots + 1))
    { echo '#!/bin/bash' && echo '. ./lib' && cat; } >"$work/script-$boots"
    local inputs=(--in "$here/guest.sh=lib") file
    for file in "$work"/in/*; do
        [ ! -e "$file" ] || inputs+=(--in "$file")
    done
    watch_boot "$(find "$LAB_STATE/boots" -mindepth 1 -maxdepth 1 | wc -l)"
    lab boot "$work/script-$boots" --end off --timeout 400 --karg "lab.registry=10.0.2.2:$LAB_PORT" "${inputs[@]}" "$@" || status=$?
    stop_watching
    [ "$status" = "$wanted" ] && return
    show_journal
    fail "boot $boots of this scenario: \`lab boot\` ended with $status, not $wanted"
}

# when TEXT COMMAND...: in the boot that comes next, as soon as its script says TEXT. For a link that changes while a
# machine runs. The watcher ends with the boot.
when() {
    local text=$1
    shift
    watchers+=("$(printf '%q ' "$text" "$@")")
}
watch_boot() {
    local place=$LAB_STATE/boots/$1 watcher words
    for watcher in "${watchers[@]}"; do
        eval "words=($watcher)"
        (
            until grep -cF -- "${words[0]}" "$place/log" >/dev/null 2>&1; do sleep 0.2; done
            "${words[@]:1}"
        ) &
        watching+=($!)
    done
    watchers=()
}
stop_watching() {
    local watcher
    for watcher in "${watching[@]}"; do
        # Already gone is as good.
        kill "$watcher" 2>/dev/null || true
        wait "$watcher" || true
    done
    watching=()
}

last_boot() { find "$LAB_STATE/boots" -mindepth 1 -maxdepth 1 | sort -V | tail -1; }

# The journal as the machine's second console has it: with the shutdown.
journal() { tr -cd '\n\t\40-\176' <"$(last_boot)/journal.log"; }
show_journal() {
    echo "-- journal: bound images, staging, failures; then its end (all of it in $(last_boot)/journal.log)"
    journal | grep -E 'bound-images|finalize|ostree|Failed|failed|podman|lab-agent' | tail -60 || true
    echo "..."
    journal | tail -25
}
expect_journal() {
    journal | grep -cF -- "$1" >/dev/null || { show_journal && fail "the journal does not say '$1'"; }
}
expect_no_journal() {
    if journal | grep -cF -- "$1" >/dev/null; then show_journal && fail "the journal says '$1'"; fi
}

# --- the link between the machines and the registry -------------------------------------------

# link open | refuse | rate BYTES | hang BYTES: see slow-proxy.py. In force when it returns.
link() {
    rm -f "$LAB_LINK.sent"
    echo "$*" >"$LAB_LINK.new"
    mv "$LAB_LINK.new" "$LAB_LINK"
    local _
    for _ in $(seq 100); do
        if [ "$(cat "$LAB_LINK.sent" 2>/dev/null)" = 0 ]; then return; fi
        sleep 0.1
    done
    fail "the proxy does not read $LAB_LINK"
}

# mark_registry; then `blobs_fetched`: the blobs that were read since, as REPOSITORY DIGEST SIZE, each request a line.
mark_registry() { marked=$(wc -l <"$LAB_REGISTRY_LOG"); }
blobs_fetched() {
    tail -n "+$((marked + 1))" "$LAB_REGISTRY_LOG" |
        sed -nE 's|.*"GET /v2/([^ ]+)/blobs/(sha256:[0-9a-f]+) [^"]*" 20[0-9] ([0-9]+) .*|\1 \2 \3|p'
}
bytes_fetched() { blobs_fetched | awk '{ sum += $3 } END { print sum + 0 }'; }

digest_of() { sed -n "s/^$1 //p" "$LAB_IMAGES/digests"; }
# layers_of NAME:TAG: its layers' digests, lowest first.
layers_of() {
    local manifest
    manifest=$(digest_of "$1")
    manifest=${manifest#sha256:}
    jq -r '.layers[].digest' \
        "$LAB_IMAGES/registry/docker/registry/v2/blobs/sha256/${manifest:0:2}/$manifest/data"
}

# --- trees of host versions -------------------------------------------------------------------

# bind TREE NAME REFERENCE [QUADLET LINE]...: a bound service of that version of the host. Lines go into [Container].
bind() {
    local tree=$work/in/$1 name=$2 reference=$3
    shift 3
    mkdir -p "$tree/usr/share/containers/systemd" "$tree/usr/lib/bootc/bound-images.d"
    {
        printf '[Unit]\nDescription=Bound service %s\n\n[Container]\nImage=%s\nNetwork=none\n' "$name" "$reference"
        [ $# = 0 ] || printf '%s\n' "$@"
        printf '\n[Service]\nRestart=no\nTimeoutStartSec=300\n\n[Install]\nWantedBy=multi-user.target\n'
    } >"$tree/usr/share/containers/systemd/$name.container"
    ln -sf "/usr/share/containers/systemd/$name.container" "$tree/usr/lib/bootc/bound-images.d/$name.container"
}
pinned() { echo "registry.lab/${1%:*}@$(digest_of "$1")"; }
tagged() { echo "registry.lab/$1"; }

# The versions that most scenarios use. A: app (by tag) and keep (pinned). B: app changed, keep as it was, extra new.
tree_a() {
    bind A app "$(tagged app:1)"
    bind A keep "$(pinned keep:1)"
}
tree_b() {
    bind B app "$(pinned app:2)"
    bind B keep "$(pinned keep:1)"
    bind B extra "$(pinned extra:1)"
}

# start_from base | A | B: disks in a known state, made by the first scenario that wants it. A: the base host was upgraded
# to a root with two bound services, booted into it, and has both complete and running. B: the same, once more. That
# machine was suspended: the first `guest` goes on with it, and needs no boot.
start_from() {
    local making
    link open
    tree_a
    tree_b
    case $1 in
    base) lab reset && return ;;
    A | B) ;;
    *) fail "no such start: $1" ;;
    esac
    # Another lane may be making it.
    exec {making}>"$LAB_SNAPSHOT_LOCK.$1"
    flock "$making"
    if lab has "$1" >/dev/null; then
        exec {making}>&-
        lab restore "$1"
        return
    fi
    if [ "$1" = A ]; then
        lab reset
    else
        start_from A
    fi
    step "making the snapshot $1"
    upgrade_to "$1"
    guest --suspend "$1" <<GUEST
$(expect_root "$1")
GUEST
    exec {making}>&-
}

# upgrade_to VERSION: one boot that stages it, waits until its store is there, and reboots.
upgrade_to() {
    guest --end reboot <<GUEST
commit $1 $1
stage $1
wait_published $1
GUEST
}

# expect_root VERSION: what a guest script asks when that version runs as it should.
expect_root() {
    case $1 in
    A) printf '%s\n' 'expect_version A' 'expect_running app 1' 'expect_running keep 1' ;;
    B) printf '%s\n' 'expect_version B' 'expect_running app 2' 'expect_running keep 1' 'expect_running extra 1' ;;
    esac
}

# expect_fetched WHAT NAME:TAG...: since mark_registry exactly the top layers of these were read, each once.
expect_fetched() {
    local what=$1 wanted found
    shift
    wanted=$(for image in "$@"; do layers_of "$image" | tail -1; done | sort)
    # Configs are blobs as well: only what is a layer of some image counts.
    found=$(blobs_fetched | cut -d' ' -f2 | sort | grep -xF "$(all_layers)" || true)
    expect "$what: layers fetched" "$wanted" "$found"
}
all_layers() { cut -d' ' -f1 "$LAB_IMAGES/digests" | while read -r image; do layers_of "$image"; done | sort -u; }
