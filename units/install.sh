#!/usr/bin/env bash
# install.sh install|uninstall BUILD DESTDIR PREFIX: puts every file where a distribution would, or takes it away.
#
# BUILD is the directory with the three programs. PREFIX is /usr in packages and images; with another one, the
# units name the programs there, but systemd's catalog, Podman's hooks and the empty store stay where they are
# looked for, below /usr.
set -euo pipefail
usage='usage: install.sh install|uninstall BUILD DESTDIR PREFIX'
command=${1:?$usage} build=${2?$usage} destdir=${3?$usage} prefix=${4:?$usage}
cd "$(dirname "${BASH_SOURCE[0]}")"

bin=$prefix/bin
libexec=$prefix/libexec
systemd=$prefix/lib/systemd
units=$systemd/system
doc=$prefix/share/doc/bound-images
store=/usr/lib/containers/storage

# mode | source | destination. Programs first: nothing may name a program that is not there. Read backwards to
# uninstall, so that the drop-ins with the gate go before the gate.
table() {
    cat <<TABLE
755|$build/bound-images|$bin/bound-images
755|$build/bound-images-hook|$libexec/bound-images-hook
755|$build/bound-images-generator|$systemd/system-generators/bound-images-generator
644|bound-images-hook.json|/usr/share/containers/oci/hooks.d/bound-images-hook.json
644|bound-images.tmpfiles|$prefix/lib/tmpfiles.d/bound-images.conf
644|bound-images.catalog|/usr/lib/systemd/catalog/bound-images.catalog
755|50-bound-images.greenboot.sh|/usr/lib/greenboot/check/required.d/50-bound-images.sh
TABLE
    local unit
    for unit in *.path *.timer *.service *-finalize-staged.service.d/*.conf; do
        echo "644|$unit|$units/$unit"
    done
    cat <<TABLE
644|80-bound-images.preset|$systemd/system-preset/80-bound-images.preset
644|$build/completions/bash|$prefix/share/bash-completion/completions/bound-images
644|$build/completions/zsh|$prefix/share/zsh/site-functions/_bound-images
644|$build/completions/fish|$prefix/share/fish/vendor_completions.d/bound-images.fish
TABLE
    # In the directories of the sources, so that their links lead somewhere.
    local document
    while read -r document; do
        echo "644|../$document|$doc/$document"
    done < <(documents)
    local page
    for page in ../man/*.[578]; do
        echo "644|$page|$prefix/share/man/man${page##*.}/${page##*/}"
    done
    # Of the commands: as the program wrote them, or to uninstall, as they are there.
    for page in "$(pages_of_commands)"/bound-images{,-*}.1; do
        [ -e "$page" ] || continue
        echo "644|$page|$prefix/share/man/man1/${page##*/}"
    done
}

# What is of use on a host; not what is for whoever changes the project.
documents() {
    cd ..
    printf '%s\n' README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT units/README.md docs/alerts.yml \
        docs/*.md docs/*.svg docs/schema/*.json
    find quadlet-examples -type f | LC_ALL=C sort
}

pages_of_commands() {
    if [ "$command" = install ]; then
        echo "$build/man"
    else
        echo "$destdir$prefix/share/man/man1"
    fi
}

# link | target: each unit has a name in section 8, all of them the one page.
unit_pages() {
    local unit
    for unit in *.path *.timer *.service; do
        echo "$prefix/share/man/man8/$unit.8|../man7/bound-images-units.7"
    done
}

# link | target. What belongs to the gate is enabled by these, and not by presets: with the gate there and the
# unit that fetches forgotten, no update would ever be booted again.
links() {
    cat <<LINKS
$units/paths.target.wants/bound-images-stage.path|../bound-images-stage.path
$units/timers.target.wants/bound-images-stage.timer|../bound-images-stage.timer
$units/multi-user.target.wants/bound-images-last-call.service|../bound-images-last-call.service
$units/multi-user.target.wants/bound-images-soft-reboot.service|../bound-images-soft-reboot.service
LINKS
    unit_pages
}

# A link to what documents() leaves out is only its text.
unlink='s,\[\([^]]*\)\]([./]*\(CONTRIBUTING\|docs/decisions/\|decisions/\|tests/\|packaging/\|benchmark\.json\)[^)]*),\1,g'

# Beside its destination and renamed: a program that runs, or a generator that starts, never sees half a file.
put() {
    local mode=$1 source=$2 to=$destdir$3
    install -d -m 755 "$(dirname "$to")"
    case $source in
    "$build"/*) install -m "$mode" "$source" "$to.new" ;;
    *.md)
        sed -e "$unlink" "$source" >"$to.new"
        chmod "$mode" "$to.new"
        ;;
    *)
        # In man pages a hyphen is \-.
        sed -e "s,/usr/bin/bound-images,$bin/bound-images,; s,/usr/libexec/bound-images,$libexec/bound-images," \
            -e "s,/usr/libexec/bound\\\\-images,$libexec/bound\\\\-images," \
            -e "s,/usr/lib/systemd/system\\\\-generators,$systemd/system\\\\-generators," \
            "$source" >"$to.new"
        chmod "$mode" "$to.new"
        ;;
    esac
    mv -f "$to.new" "$to"
}

# The directories of $1, where they are empty now and only units and files like ours are in them.
prune() {
    local directory=$1
    while directory=$(dirname "$directory"); do
        case $directory in
        *.wants | *.requires | *.service.d | */doc/bound-images | */doc/bound-images/*) ;;
        *) return 0 ;;
        esac
        # Not where nothing was installed.
        [ ! -d "$destdir$directory" ] || rmdir --ignore-fail-on-non-empty "$destdir$directory"
    done
}

case $command in
install)
    for program in bound-images bound-images-hook bound-images-generator; do
        [ -x "$build/$program" ] || { echo "no $build/$program: run make build first" >&2; exit 2; }
    done
    for made in man/bound-images.1 completions/bash completions/zsh completions/fish; do
        [ -s "$build/$made" ] || { echo "no $build/$made: run make build first" >&2; exit 2; }
    done
    while IFS='|' read -r mode source to; do put "$mode" "$source" "$to"; done < <(table)
    while IFS='|' read -r link target; do
        install -d -m 755 "$destdir$(dirname "$link")"
        ln -sfn "$target" "$destdir$link"
    done < <(links)
    ./storage-skeleton "$destdir$store"
    ;;
uninstall)
    while IFS='|' read -r link _; do
        rm -f "$destdir$link"
        prune "$link"
    done < <(links)
    while IFS='|' read -r _ _ to; do
        rm -f "$destdir$to"
        prune "$to"
    done < <(table | tac)
    # The empty store stays: a storage.conf may name it, and Podman does not work where it is missing.
    ;;
*) echo "$usage" >&2 && exit 2 ;;
esac
