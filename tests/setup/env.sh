# shellcheck shell=bash
# Sourced by the scripts of tests/: where the project is, and a PATH with the Rust toolchain on it.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# rustup's own place goes first: a distribution's cargo may be too old.
if [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
elif [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
    # Under sudo, HOME is root's: the toolchain of the person who typed it serves as well.
    user_home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
    if [ -x "$user_home/.cargo/bin/cargo" ] && [ -d "$user_home/.rustup" ]; then
        PATH=$user_home/.cargo/bin:$PATH
        export RUSTUP_HOME=${RUSTUP_HOME:-$user_home/.rustup}
    fi
fi
# mkfs, losetup, chroot: not on every user's path.
PATH=$project/target/tools/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
