#!/bin/sh
# pages.sh BUILD: the man pages of all commands and the completions of shells, written by the program in BUILD,
# into BUILD/man and BUILD/completions. Where it cannot be run (built for another machine), name one that can in RUN_ON_THIS.
set -eu
build=${1:?usage: pages.sh BUILD}
program=${RUN_ON_THIS:-$build/bound-images}
# Those of a command that is no more must not be installed.
rm -rf "$build/man" "$build/completions"
"$program" man --out "$build/man"
mkdir "$build/completions"
for shell in bash zsh fish; do "$program" completions "$shell" >"$build/completions/$shell"; done
