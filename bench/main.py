#!/usr/bin/env python3
"""make bench, bench-scale, bench-smoke: started by bench/run, which has built what is measured.

  main.py bench CORPUS.json [--rounds N] [--only SECTION,...] [--out DIR]
  main.py scale [--rounds N] [--most N] [--out DIR]
  main.py smoke CORPUS.json
  main.py page FILE.json     writes the page and the plots of results beside them

Results go to target/bench/results; to docs (with --out docs) only what was measured on the real corpus, whole
and on a machine with nothing else to do.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys

from benchkit import beside, boot, cold, deep, machine, page, scale, served, settled, smoke, synthetic
from benchkit.measure import Failed
from benchkit.place import Place, short
from benchkit.tools import Tools, chroot_tools
from benchkit.world import Corpus, World, say

PROJECT = served.PROJECT
TARGET = os.path.join(PROJECT, "target", "bench")
SECTIONS = {"cold": cold.loopback, "unchanged": settled.unchanged, "changed": settled.changed, "deep": deep.deep,
            "generator": boot.generator, "hook": boot.hook, "beside": beside.beside,
            "slow": cold.slow}
# More than this share of the cores for others, and figures say nothing.
QUIET = 0.1


@contextlib.contextmanager
def world_of(corpus, args, base=TARGET, wants_slow=True):
    """Tools, a place and the corpus in a registry below `base`, as long as the block lasts."""
    place = Place(os.path.join(short(base), "work"))
    tools = Tools(place, args.programs)
    newer = chroot_tools(place, args.programs, args.chroot, "newer") if args.chroot else None
    registry = slow = None
    try:
        registry = served.registry(os.path.join(base, "registry"))
        for images in (corpus.first, corpus.second):
            served.serve(registry.address, corpus.layout, images)
        if wants_slow:
            slow = served.slow_link(registry.address, os.path.join(base, "proxy.log"))
        versions = tools.versions()
        peers = f"Podman {versions['podman']}, skopeo {versions['skopeo']}"
        yield World(place, corpus, tools, newer, registry, slow, args.rounds, peers)
    finally:
        for program in (slow, registry):
            if program:
                program.stop()
        place.remove("")


def bench(args):
    path = args.corpus if args.corpus != "tiny" else synthetic.tiny(os.path.join(TARGET, "tiny"))
    corpus = Corpus.read(path)
    wanted = args.only.split(",") if args.only else list(SECTIONS)
    if unknown := set(wanted) - set(SECTIONS):
        raise Failed(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    busy = [busy_before(args)]
    sections = []
    with world_of(corpus, args) as world:
        about = {**machine.describe(world.place.path), "tools": world.tools.versions(),
                 "newer": world.newer.versions() if world.newer else None}
        for name in wanted:
            sections += SECTIONS[name](world)
            busy.append(machine.busy_others())
    layers = corpus.layers(corpus.first)
    document = {"schema": 1, "machine": about, "busy": round(max(busy), 3), "rounds": args.rounds,
                "corpus": {"what": corpus.what, "images": len(corpus.first), "layers": len(layers), "bytes": sum(l[4] for l in layers),
                           "largest": layers[0][4], "update": corpus.update},
                "sections": [section.document() for section in sections]}
    whole = args.corpus != "tiny" and wanted == list(SECTIONS) and args.rounds >= 3
    publish(document, args.out, "benchmark", whole and max(busy) <= QUIET)


def busy_before(args):
    """What others take before anything is measured. Better now than after half an hour."""
    busy = machine.busy_others()
    if args.out and busy > QUIET:
        raise Failed(f"others take {busy:.0%} of the cores: figures for {args.out} need a machine with nothing else to do; "
                     "`OUT=` measures all the same, into target/bench/results")
    return busy


def scales(args):
    busy = busy_before(args)
    place = Place(os.path.join(short(TARGET), "work"))
    tools = Tools(place, args.programs)
    registry = served.registry(os.path.join(TARGET, "registry-scale"))
    try:
        tools.insecure([registry.address])
        lines = scale.all_lines(scale.Setting(place, tools, registry.address, args.rounds, args.most))
        about = {**machine.describe(place.path), "tools": tools.versions()}
    finally:
        registry.stop()
        place.remove("")
        shutil.rmtree(os.path.join(TARGET, "registry-scale"))
    document = {"schema": 1, "machine": about, "busy": round(busy, 3), "rounds": args.rounds, "lines": lines}
    publish(document, args.out, "benchmark-scale", args.most is None and busy <= QUIET)


def publish(document, out, name, fit):
    """Writes the figures, and the page of them; into `out` when they may be shown."""
    results = os.path.join(TARGET, "results")
    put(document, results, name)
    if not out:
        return
    if not fit:
        raise Failed(f"not put into {out}: a tiny, partial or disturbed run (others took {document['busy']:.0%} of the cores; "
                     f"at most {QUIET:.0%} may be)")
    put(document, os.path.join(PROJECT, out), name)


def put(document, directory, name):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, name + ".json"), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    say(f"{', '.join(page.write(directory))} in {directory}")


def main():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True)
    for name in ("bench", "scale", "smoke"):
        command = commands.add_parser(name)
        command.add_argument("--programs", required=True, help="directory of the programs that are measured")
        command.add_argument("--chroot", default="", help="a Debian with newer tools")
        command.add_argument("--rounds", type=int, default=5 if name != "scale" else 3)
        command.add_argument("--out", default="")
        if name != "scale":
            command.add_argument("corpus", help="what bench/corpus.sh printed; `tiny`: made up")
        if name == "bench":
            command.add_argument("--only", default="")
        if name == "scale":
            command.add_argument("--most", type=int, help="no size above this")
    commands.add_parser("page").add_argument("directory")
    args = top.parse_args()
    # Servers are stopped and what was made is removed, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if args.command == "bench":
            bench(args)
        elif args.command == "scale":
            scales(args)
        elif args.command == "smoke":
            base = smoke.memory(os.path.join(TARGET, "memory"))
            with world_of(smoke.corpus(args.corpus), args, base, wants_slow=False) as world:
                sys.exit(smoke.smoke(world))
        else:
            print(*page.write(args.directory))
    except Failed as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
