"""The guard of CI: ratios to something measured in the same run, never a time (`make bench-smoke`).

Each side runs some times, in turn; the best of each is compared, since noise only ever adds. Where it can be, CPU
seconds are compared, which others on the machine hardly change; wall time only where it is mostly waiting. What is over its limit is
measured again, and counts when it stays so. A limit lies above all that was seen and at most 1.5 times the least of it (this is checked),
so that what gets slower by half is caught. Seen so far, on two cores with SHA
instructions, 2026-11-21: eight runs on a quiet machine, six on one whose cores others took as well. After a change that makes things faster, or on another machine:
`BENCH_SMOKE_REPEAT=6 make bench-smoke` prints the least and the most of six runs. Processors without SHA instructions have
other ratios, and are left alone; the slow link only counts where others leave the cores alone.
"""

import json
import os

from .boot import Booted
from .cold import FLOOR
from .deep import HASH
from .machine import busy_others
from .measure import Failed, measure, measure_short, run
from .results import Section
from .roots import store_of
from .served import slow_link
from .settled import SHORT, filled
from .world import Corpus, say

ROUNDS = 3
# How often a ratio may be over its limit before it counts.
TRIES = 5
# With more than this share of the cores taken by others, wall times are theirs (ratios of 0.9 to 2.3 were seen).
BUSY = 0.25

# what: (least, most that was seen, limit)
LIMITS = {
    "cold, CPU seconds, of the floor's": (0.584, 0.737, 0.87),
    "cold, memory of our process, of 64 MiB": (0.681, 0.691, 1.0),
    "cold over a slow link, wall time, of the floor's": (0.502, 0.580, 0.75),
    "verify --deep, CPU seconds, of sha256sum's": (0.477, 0.703, 0.715),
    "no change, CPU seconds, of one `podman image exists`": (0.091, 0.121, 0.135),
    "generator, 100 bindings, CPU seconds, of Podman's": (0.401, 0.477, 0.60),
}


def corpus(path):
    """The images of tests/corpus/debian-images.sh as a corpus of one generation."""
    with open(path, encoding="utf-8") as file:
        images = json.load(file)
    return Corpus(os.path.join(os.path.dirname(path), "layout"), "Debian, small", images, [], "", "")


def memory(path):
    """Disks are shared with all that runs: what the guard makes is in memory, in the namespace of the benchmark."""
    os.makedirs(path, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", path])
    return path


def smoke(world):
    """0 when all ratios are within their limits."""
    if not has_sha():
        say("skipped: needs a processor with SHA instructions, with which the limits were found")
        return 0
    repeats = int(os.environ.get("BENCH_SMOKE_REPEAT", "0"))
    seen = {}
    for check in [cold, slow, deep, unchanged, generator]:
        for at in range(repeats or TRIES):
            over = False
            for what, value in check(world):
                say(f"{at + 1}: {what}: {value:.3f}")
                seen.setdefault(what, []).append(value)
                over |= value > LIMITS[what][2]
            if not over and not repeats:
                break
    return judge(seen)


def has_sha():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return any(word in ("sha_ni", "sha2") for line in file for word in line.split())


def judge(seen):
    wrong = 0
    for what, values in seen.items():
        least, most, limit = LIMITS[what]
        if not most < limit <= 1.5 * least:
            raise Failed(f"smoke.py: the limit {limit} of {what} would catch noise, or miss a factor of 1.5")
        over = min(values) > limit
        wrong += over
        print(f"{'TOO MUCH' if over else 'ok':8}  {what}: {min(values):.3f} to {max(values):.3f}, limit {limit}")
    return 1 if wrong else 0


def turns(section, sides, rounds=ROUNDS):
    for _ in range(rounds):
        for name, side in sides.items():
            section.add(name, side())
    return section


def staged(world, address, floor_list):
    """Our side and the floor, both into nothing. The page cache is as it is, and nothing is synced."""
    tools, place, images = world.tools, world.place, world.corpus.first

    def ours():
        root = world.root("root", images, address)
        return measure([tools.ours("stage", "--root", root)], tools.env)

    def floor():
        out = place.fresh("floor")
        return measure([[FLOOR, floor_list, out]], tools.env)
    return {"ours": ours, "floor": floor}


def cold(world):
    address = world.registry.address
    world.tools.insecure([address])
    it = turns(Section("cold", "", "", ""), staged(world, address, world.floor(world.corpus.first, address, "floor.list")))
    yield "cold, CPU seconds, of the floor's", it.least_ratio("ours", "floor", "cpu")
    yield "cold, memory of our process, of 64 MiB", max(sample.own for sample in it.sides["ours"]) / (64 << 20)


def slow(world):
    """Waiting that does not overlap shows here: time is what the link takes, hardly what the cores do."""
    busy = busy_others()
    if busy > BUSY:
        say(f"skipped: the slow link needs cores that others leave alone, they take {busy:.0%}: wall time would say nothing")
        return
    link = slow_link(world.registry.address, world.place.at("proxy.log"), 0.05, 10_000_000)
    try:
        world.tools.insecure([link.address])
        it = turns(Section("slow", "", "", ""), staged(world, link.address, world.floor(world.corpus.first, link.address, "slow.list")))
    finally:
        link.stop()
    yield "cold over a slow link, wall time, of the floor's", it.least_ratio("ours", "floor", "wall")


def deep(world):
    tools, root = world.tools, world.place.at("root")
    sides = {"ours": lambda: measure([tools.ours("verify", "--deep", "--root", root)], tools.env),
             "sha256sum": lambda: measure([["sh", "-c", HASH, "sh", store_of(root)]], tools.env)}
    yield "verify --deep, CPU seconds, of sha256sum's", turns(Section("deep", "", "", ""), sides).least_ratio("ours", "sha256sum", "cpu")


def unchanged(world):
    tools, images = world.tools, world.corpus.first
    tools.insecure([world.registry.address])
    root, store = world.root("root", images), filled(world, tools, "store", images[:1])
    run(tools.ours("stage", "--root", root), env=tools.env)
    exists = tools.podman(store, "image", "exists", world.references(images)[0])
    sides = {"ours": lambda: measure_short(tools.ours("stage", "--root", root), SHORT, tools.env),
             "podman": lambda: measure_short(exists, SHORT, tools.env)}
    # Milliseconds: the best of many.
    it = turns(Section("unchanged", "", "", ""), sides, 3 * ROUNDS)
    world.place.remove("store")
    yield "no change, CPU seconds, of one `podman image exists`", it.least_ratio("ours", "podman", "cpu")


def generator(world):
    if not world.newer:
        say("skipped: needs Podman's generator (tests/setup/chroot.sh trixie)")
        return
    booted = Booted(world, 100)
    try:
        sides = {name: (lambda command=command: booted.measure(command)) for name, command in booted.commands().items()}
        it = turns(Section("generator", "", "", ""), sides)
    finally:
        booted.close()
    yield "generator, 100 bindings, CPU seconds, of Podman's", it.least_ratio("bound-images-generator", "podman-system-generator", "cpu")
