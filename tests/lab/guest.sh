# shellcheck shell=bash
# Sourced by the scripts of scenarios inside the guest, as ./lib: words for what a host can be asked to do
# and to be. A step that fails says what was expected and what was found, and ends the script.
set -euo pipefail
trap 'echo "FAILED in line $LINENO of the script: $BASH_COMMAND"' ERR

fail() {
    echo "FAILED: $*"
    exit 1
}

# expect WHAT WANTED FOUND
expect() {
    [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
    echo "ok: $1: $3"
}

# refuse WHAT COMMAND...: the command has to fail.
refuse() {
    local what=$1
    shift
    if "$@"; then fail "$what: should have been refused"; fi
    echo "ok: $what is refused"
}

# within SECONDS WHAT COMMAND...: until the command succeeds.
within() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "$what: still not so: $*"
        sleep 0.3
    done
    echo "ok: $what"
}

# --- roots -------------------------------------------------------------------------------------

booted_checksum() { ostree admin status | sed -n 's/^\* lab \([0-9a-f]*\)\..*/\1/p'; }
booted_version() { ostree show --repo=/ostree/repo --print-metadata-key=version "$(booted_checksum)" | tr -d "'"; }
expect_version() { expect "booted version" "$1" "$(booted_version)"; }

# commit VERSION [DIR]: the host's base tree with DIR laid over it. The same commit when it is there already.
commit() {
    ! checksum_of "$1" >/dev/null 2>&1 || return 0
    local trees=(--tree=ref=lab/host)
    [ $# = 1 ] || trees+=(--tree=dir="$2")
    ostree commit --repo=/ostree/repo --branch="lab/$1" --subject="$1" "${trees[@]}" \
        --add-metadata-string=version="$1" >/dev/null
}

checksum_of() { ostree rev-parse --repo=/ostree/repo "lab/$1"; }
# root_of VERSION: its deployment, CHECKSUM.SERIAL; the newest, since a commit that is staged again gets the next serial.
root_of() {
    local checksum found
    checksum=$(checksum_of "$1")
    found=$(find /sysroot/ostree/deploy/lab/deploy -maxdepth 1 -type d -name "$checksum.*" -printf '%f\n' | sort -V | tail -1)
    echo "${found:-$checksum.0}"
}
deploy_directory() { echo "/sysroot/ostree/deploy/lab/deploy/$(root_of "$@")"; }

stage() { ostree admin deploy --stage --os=lab "lab/$1" >/dev/null; }
is_staged() { [ -e /run/ostree/staged-deployment ]; }

# roll_back: the other deployment becomes the next boot, as `bootc rollback` and `ostree admin set-default` do.
roll_back() { ostree admin set-default 1; }

# --- registry ----------------------------------------------------------------------------------

# serve_here DIR: a registry in this machine, on 127.0.0.1:5000, with that data; registry.lab is it from now on.
serve_here() {
    cat >/run/lab/registry.yml <<YML
version: 0.1
storage: {filesystem: {rootdirectory: $(realpath "$1")}}
http: {addr: "127.0.0.1:5000"}
YML
    systemd-run --quiet --unit=lab-registry-here docker-registry serve /run/lab/registry.yml
    sed -i 's/^location = .*/location = "127.0.0.1:5000"/' /etc/containers/registries.conf.d/lab.conf
    within 60 "the registry in this machine answers" curl --silent --fail --output /dev/null http://127.0.0.1:5000/v2/
}
digest_at_registry() { skopeo inspect --no-tags --format '{{.Digest}}' "docker://registry.lab/$1"; }

# --- bound images ------------------------------------------------------------------------------

pool=/sysroot/bound-images
# A root is published when its link leads to a store.
is_published() { [ -e "$pool/roots/$(root_of "$@")/bound-images.json" ]; }
wait_published() { within 180 "store of $1 is published" is_published "$@"; }

# The container's first process, by the service's control group: asking Podman costs a second each time.
container_pid() { head -n 1 /sys/fs/cgroup/system.slice/"$1".service/libpod-payload-*/cgroup.procs; }
marker_of() { cat "/proc/$(container_pid "$1")/root/marker"; }

# expect_running SERVICE TAG: active, and its process really has the root of image SERVICE:TAG.
expect_running() {
    within 120 "$1.service is active" systemctl --quiet is-active "$1.service"
    expect "the image of $1" "$1-$2" "$(marker_of "$1")"
}
expect_not_running() {
    if systemctl --quiet is-active "$1.service"; then fail "$1.service is active"; fi
    echo "ok: $1.service does not run"
}

# journal_has TEXT [journalctl options]: this boot's journal, or what the options choose.
journal_has() {
    local text=$1
    shift
    journalctl --quiet --no-pager -o cat "${@:--b}" | grep -cF -- "$text" >/dev/null
}
expect_journal() { within 20 "the journal says '$1'" journal_has "$@"; }

# inside COMMAND...: with /sysroot writable, in a mount namespace of its own.
inside() { unshare --mount --propagation private sh -c 'mount -o remount,rw /sysroot && exec "$@"' sh "$@"; }

store_of() { basename "$(readlink -f "$pool/roots/$(root_of "$@")")"; }
number_of() { find "$pool/$1" -mindepth 1 -maxdepth 1 | wc -l; }

# images_in VERSION: what Podman itself sees in the store of that root, as NAME ID lines.
images_in() {
    podman --root /run/lab/no-images --runroot /run/lab/no-images-run --storage-driver overlay \
        --storage-opt "additionalimagestore=$(readlink -f "$pool/roots/$(root_of "$1")")" \
        images --format '{{.Repository}} {{.ID}}' | sort
}

# configure LINE...: the administrator's configuration of bound-images.
configure() {
    mkdir -p /etc/bound-images/config.d
    printf '%s\n' "$@" >/etc/bound-images/config.d/lab.toml
}

expect_intact() { bound-images verify --deep || fail "verify --deep of the booted root: $?"; }
# expect_text WHAT PATTERN COMMAND...: the command's output has a line of that (extended) pattern.
expect_text() {
    local what=$1 pattern=$2 said
    shift 2
    said=$("$@" 2>&1) || true
    if ! grep -ciE -- "$pattern" <<<"$said" >/dev/null; then
        printf '%s\n' "$said"
        fail "$what: nothing like '$pattern' in what '$*' said"
    fi
    echo "ok: $what"
}
