"""What every boot pays: the generator (e), and what each start of a bound container does: the hook."""

import os
import re

from . import synthetic
from .measure import Failed, Sample, measure_short_inside, run
from .results import Section, Target
from .roots import bind, store_of
from .served import PROJECT
from .world import say

BINDINGS = (1, 10, 100)
TIMES = 50
PODMANS = "/usr/lib/systemd/system-generators/podman-system-generator"

HOOK = """`bound-images-hook` as Podman starts it, on a bundle that Podman 5.4.2 made; the lists of Podman's own store have 1 or 1,000 entries. Medians of
500 starts. *true*: what starting any process costs here, which is part of each."""


class Booted:
    """A chroot whose Quadlets, links and store are those of a root. The generator always reads `/`."""

    def __init__(self, world, bindings):
        self.tools, self.chroot = world.newer, world.newer.prefix[1]
        self.mounts, self.bindings = [], bindings
        images = synthetic.many(world.place.at("generator-layout"), bindings)
        root = world.place.fresh("generator-root")
        bind(root, [image["name"] for image in images])
        run(world.tools.ours("stage", "--root", root, "--bundle", world.place.at("generator-layout")), env=world.tools.env)
        for path in ("usr/share/containers/systemd", "usr/lib/bootc"):
            os.makedirs(os.path.join(self.chroot, path), exist_ok=True)
            self.mount(os.path.join(root, path), path)
        self.mount(store_of(root), "usr/lib/containers/storage")
        # Where both write is memory, as on a host.
        for name in ("podman", "ours", "bound-images"):
            os.makedirs(f"{self.chroot}/run/{name}", exist_ok=True)

    def mount(self, what, path):
        run(["mount", "--bind", what, f"{self.chroot}/{path}"])
        self.mounts.append(f"{self.chroot}/{path}")

    def close(self):
        for mount in reversed(self.mounts):
            run(["umount", "-l", mount])

    def commands(self):
        def three(name):
            return [f"/run/{name}"] * 3
        ours = self.tools.inside(self.tools.place.at("bin", "bound-images-generator"))
        return {"podman-system-generator": [PODMANS, *three("podman")], "bound-images-generator": [ours, *three("ours")]}

    def measure(self, command):
        """As at boot, when nothing is in the directory yet; fails when it does not make, or wire, all services."""
        directory = command[-1]
        sample = measure_short_inside(self.chroot, command, TIMES, self.tools.env, (directory, "/run/bound-images"))
        made = sum(entry.endswith((".service", ".service.d")) for entry in os.listdir(self.chroot + directory))
        if made != self.bindings:
            raise Failed(f"{command[0]} made {made} services of {self.bindings} bindings")
        return sample


def generator(world):
    """(e)."""
    if not world.newer or not os.path.exists(world.newer.prefix[1] + PODMANS):
        section = Section("generator", "Generator", "", "bound-images-generator")
        section.skipped.append("needs Podman's generator (tests/setup/chroot.sh trixie)")
        yield section
        return
    for bindings in BINDINGS:
        yield generator_of(world, bindings)


def generator_of(world, bindings):
    """Both generators in turn, on the same files."""
    text = f"""{bindings} bound Quadlet{"s" if bindings > 1 else ""} in a chroot of Debian with Podman {world.newer.versions()["podman"]}: both generators on the same files, {TIMES} times in each round."""
    section = Section(f"generator-{bindings}", f"Generator, {bindings} binding{'s' if bindings > 1 else ''}", text, "bound-images-generator")
    booted = Booted(world, bindings)
    try:
        for at in range(world.rounds):
            for name, command in booted.commands().items():
                section.add(name, booted.measure(command))
            say(f"{section.key}: round {at + 1}")
    finally:
        booted.close()
    section.targets = [Target("bound-images-generator", "wall", 0.5, "podman-system-generator")]
    if bindings == 100:
        section.targets.append(Target("bound-images-generator", "wall", 0.005))
    return section


def hook(world):
    """(e), the start of a bound container: the project's own benchmark of the hook, in turn with `true`."""
    command = ["cargo", "bench", "--quiet", "--locked", "-p", "bound-images-hook", "--bench", "hook"]
    # As it is called by hand: with the compiler's own environment.
    run([*command, "--no-run"], cwd=PROJECT)
    env = {**os.environ, "HOOK": world.tools.place.at("bin", "bound-images-hook")}
    section = Section("hook", "Hook, at each start of a bound container", HOOK, "true")
    for at in range(world.rounds):
        for line in run(command, env=env, cwd=PROJECT).splitlines():
            if found := re.fullmatch(r"(.*\S) +([0-9.]+) ms +[0-9.]+ ms( +[0-9.]+)?", line):
                section.add(found[1], Sample(float(found[2]) / 1000, None))
        say(f"hook: round {at + 1}")
    judged = [side for side in section.sides if side != "true"]
    if len(judged) != 4:
        raise Failed(f"the benchmark of the hook said something else than it used to: {list(section.sides)}")
    section.ours = judged[0]
    section.targets = [Target(side, "wall", 0.003) for side in judged]
    yield section
