#!/usr/bin/env bash
# install-tools.sh demo|test|lab|bench|ci: installs the tools that are missing, and says what it does first.
#
#   demo  what `make demo` uses         test  the peers that `make test` asks, too
#   lab   what tests/lab uses, too      bench what bench/ uses, and no lab
#   ci    all of that, formatter and clippy
#
# Does nothing, at once, when all is there. Package managers: apt-get (Debian, Ubuntu) and dnf
# (Fedora); elsewhere it lists what is missing.
set -euo pipefail
# shellcheck source=tests/setup/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
purpose=${1:?usage: install-tools.sh demo|test|lab|bench|ci}

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 2; }

# purpose | command, file by absolute path, python3:MODULE, or unpacked:DIRECTORY below target/tools | package for apt | package for dnf  ("-": none there).
# unpack: downloaded and unpacked below target/tools, not installed: busybox-static and the busybox that
# many machines boot with exclude each other; ostree-boot, whose unit is compared with, brings an initramfs along.
# A tool whose line ends in "optional" is done without: the demo and the tests say what they skip.
table='
demo|cc|gcc|gcc
demo|/usr/include/stdio.h|libc6-dev|glibc-headers
demo|/etc/ssl/certs|ca-certificates|ca-certificates
demo|python3|python3|python3
demo|mount|mount|util-linux
demo|skopeo|skopeo|skopeo
demo|busybox|unpack:busybox-static|busybox
demo|podman|podman|podman|optional
demo|crun|crun|crun|optional
test|ip|iproute2|iproute
test|jq|jq|jq
test|zstd|zstd|zstd
test|getfattr|attr|attr
test|mkfs.ext4|e2fsprogs|e2fsprogs
test|ostree|ostree|ostree|optional
test|mkfs.xfs|xfsprogs|xfsprogs|optional
test|mkfs.erofs|erofs-utils|erofs-utils|optional
test|unpacked:ostree-boot|unpack:ostree-boot|-|optional
test|systemd-analyze|systemd|systemd|optional
test|dbus-daemon|dbus-daemon|dbus-daemon|optional
test|mmdebstrap|mmdebstrap|mmdebstrap|optional
test|docker-registry|docker-registry|-|optional
test|containers-storage|containers-storage|-|optional
test|man|man-db|man-db|optional
test|groff|groff|groff|optional
test|mandoc|unpack:mandoc|mandoc|optional
test|promtool|unpack:prometheus|golang-github-prometheus|optional
test|tmux|tmux|tmux|optional
test|python3:jsonschema|python3-jsonschema|python3-jsonschema|optional
test|zsh|unpack:zsh|zsh|optional
test|fish|fish|fish|optional
lab|qemu-system-x86_64|qemu-system-x86|qemu-system-x86-core
lab|qemu-img|qemu-utils|qemu-img
lab|debugfs|e2fsprogs|e2fsprogs
bench|curl|curl|curl
bench|xargs|findutils|findutils
bench|libc.a|libc6-dev|glibc-static
'

have() {
    case $1 in
    /*) [ -e "$1" ] ;;
    unpacked:*) [ -n "$(ls -A "$project/target/tools/${1#unpacked:}" 2>/dev/null)" ] ;;
    python3:*) python3 -c "import ${1#python3:}" 2>/dev/null ;;
    busybox) command -v busybox >/dev/null && static busybox ;;
    # What the programs that `make build` links statically are linked with.
    libc.a) [ -e "$(cc -print-file-name=libc.a)" ] ;;
    # 7.2 crashes when it emulates the lab's machines.
    qemu-system-x86_64) [ "$(qemu-system-x86_64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p')" -ge 8 ] 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# A program without an ELF interpreter (program header type 3) runs in an image of its own.
static() {
    python3 - "$(command -v "$1")" <<'PYTHON'
import struct, sys
with open(sys.argv[1], "rb") as file:
    head = file.read(4096)
at, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
sys.exit(any(struct.unpack_from("<I", head, at + n * size)[0] == 3 for n in range(count)))
PYTHON
}

manager=
for candidate in apt-get dnf; do
    if command -v "$candidate" >/dev/null; then manager=$candidate && break; fi
done

# Each purpose wants what those before it want.
for_this() {
    case $purpose:$1 in
    lab:bench) false ;;
    demo:demo | test:demo | test:test | bench:demo | bench:test | bench:bench | lab:* | ci:*) true ;;
    *) false ;;
    esac
}

packages=() optional=() unpacked=() unpacked_optional=()
while IFS='|' read -r for_purpose tool apt dnf kind; do
    [ -n "$tool" ] || continue
    for_this "$for_purpose" || continue
    have "$tool" && continue
    package=$apt
    [ "$manager" != dnf ] || package=$dnf
    if [ "$package" = - ]; then
        say "$tool is not packaged here: the tests that need it will say that they are skipped"
    elif [ "${package#unpack:}" != "$package" ]; then
        [ "$kind" = optional ] && unpacked_optional+=("${package#unpack:}") || unpacked+=("${package#unpack:}")
    elif [ "$kind" = optional ]; then
        optional+=("$package")
    else
        packages+=("$package")
    fi
done <<<"$table"

# --- Rust: the oldest version the workspace allows stands in Cargo.toml ---------------------------

wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)"$/\1/p' "$project/Cargo.toml")
rust_version() { rustc --version 2>/dev/null | cut -d' ' -f2 | cut -d- -f1; }
rust_fits() {
    command -v cargo >/dev/null && [ -n "$(rust_version)" ] &&
        [ "$(printf '%s\n' "$wanted" "$(rust_version)" | sort -V | head -1)" = "$wanted" ]
}
rust_fits || have curl || packages+=(curl)

# --- packages -------------------------------------------------------------------------------------

refreshed='' install_options=()
refresh() {
    [ -z "$refreshed" ] || return 0
    say "apt-get update"
    apt-get -qq update
    refreshed=1
}

install() {
    case $manager in
    apt-get)
        refresh
        say "apt-get install $*"
        DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-remove --no-install-recommends \
            -o Dpkg::Use-Pty=0 "${install_options[@]}" "$@" </dev/null >/dev/null
        ;;
    dnf)
        say "dnf install $*"
        dnf -q install -y "$@" </dev/null
        ;;
    esac
}

# The programs of a Debian package, put into target/tools/bin.
unpack() {
    local tools=$project/target/tools
    refresh
    say "apt-get download $1, unpacked into target/tools"
    rm -rf "${tools:?}/$1"
    mkdir -p "$tools/$1" "$tools/bin"
    (cd "$tools/$1" && apt-get -qq -o APT::Sandbox::User=root download "$1" && dpkg-deb -x ./*.deb . && rm ./*.deb) ||
        return
    find "$tools/$1" -path '*bin/*' -type f -exec ln -sf {} "$tools/bin/" \;
}

# Debian's docker-registry starts a daemon on port 5000 of every address. The tests start their own on
# loopback, so its unit is masked while the package is configured, and left disabled.
without_daemon() {
    if [ "$1" = docker-registry ] && [ -d /run/systemd/system ]; then
        say "docker-registry.service is kept from starting: the tests run their own registry"
        systemctl --quiet mask docker-registry.service
        install "$1" && result=0 || result=$?
        systemctl --quiet unmask docker-registry.service
        systemctl --quiet disable docker-registry.service || true # no unit: then it is disabled
        return "$result"
    fi
    install "$1"
}

# Debian 12 has QEMU 7.2: 10.0 comes from its backports, on the mirror that
# apt uses already. Later Debians have it themselves.
qemu_of_debian_12() {
    local id='' codename='' mirror
    if [ -r /etc/os-release ]; then
        # shellcheck source=/dev/null
        read -r id codename < <(. /etc/os-release && echo "$ID ${VERSION_CODENAME:-}")
    fi
    [ "$id $codename" = "debian bookworm" ] || return 0
    # Only of the lists that are here does apt know whose they are.
    refresh
    mirror=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n '0,/^Debian|/s/^Debian|//p')
    [ -n "$mirror" ] || fail "apt has no Debian mirror here: qemu-system-x86 of bookworm-backports is needed"
    if ! apt-cache policy | grep -cF n=bookworm-backports >/dev/null; then
        say "adding bookworm-backports, for QEMU 10, in /etc/apt/sources.list.d/bound-images-lab.sources"
        printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
            "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg \
            >/etc/apt/sources.list.d/bound-images-lab.sources
        refreshed=''
    fi
    install_options=(-t bookworm-backports)
    install qemu-system-x86 qemu-utils || fail "could not install QEMU of bookworm-backports"
    install_options=()
}

missing=("${packages[@]}" "${unpacked[@]}" "${unpacked_optional[@]}" "${optional[@]}")
if [ "${#missing[@]}" -gt 0 ]; then
    [ -n "$manager" ] || fail "neither apt-get nor dnf here; please install: ${missing[*]}"
    [ "$(id -u)" = 0 ] || fail "installing needs root: ${missing[*]}"
fi
if for_this lab && [ "$manager" = apt-get ] && ! { have qemu-system-x86_64 && have qemu-img; }; then
    qemu_of_debian_12
fi
[ "${#packages[@]}" = 0 ] || install "${packages[@]}" || fail "could not install ${packages[*]}"
for package in "${unpacked[@]}"; do
    unpack "$package" || fail "could not get $package"
done
for package in "${unpacked_optional[@]}"; do
    unpack "$package" || say "$package cannot be had here: what needs it will be skipped"
done
for package in "${optional[@]}"; do
    without_daemon "$package" || say "$package cannot be had here: what needs it will be skipped"
done

# --- Rust, when missing or too old ----------------------------------------------------------------

# The distribution's rustup if it has one, and if that removes nothing that is installed.
packaged_rustup() {
    command -v rustup >/dev/null && return
    case $manager in
    apt-get) apt-cache policy rustup | grep -q 'Candidate: [0-9]' && install rustup ;;
    dnf) dnf -q list rustup >/dev/null 2>&1 && install rustup && rustup-init -y --no-modify-path --default-toolchain none ;;
    *) false ;;
    esac
}

if ! rust_fits; then
    found=$(rust_version || true)
    say "Rust $wanted or later is needed; here is ${found:-none}"
    if packaged_rustup; then
        say "rustup: installing the stable toolchain for $(id -un) (~/.rustup) and making it the default"
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
        if ! { rustup toolchain install stable --profile minimal --component clippy,rustfmt &&
            rustup default stable; }; then
            fail "rustup could not install the stable toolchain"
        fi
    else
        say "no rustup package here: running the official installer, https://sh.rustup.rs, for $(id -un) (~/.cargo, ~/.rustup)"
        installer=$(mktemp)
        trap 'rm -f "$installer"' EXIT
        if ! { curl --proto '=https' --tlsv1.2 --retry 3 -fsS https://sh.rustup.rs -o "$installer" &&
            sh "$installer" -y --no-modify-path --profile minimal --component clippy,rustfmt; }; then
            fail "the Rust installer failed; install Rust $wanted or later yourself, then run this again"
        fi
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    rust_fits || fail "still no Rust $wanted: see https://www.rust-lang.org/tools/install"
fi

if [ "$purpose" = ci ] && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    if command -v rustup >/dev/null; then
        say "rustup component add clippy rustfmt"
        rustup component add clippy rustfmt
    else
        fail "cargo fmt and cargo clippy are missing; install your distribution's packages of them"
    fi
fi
