"""What every boot pays: the generator (e). The hook's place is `hook`, below."""

import os

from . import synthetic
from .measure import Failed, measure_short_inside, run
from .results import Section, Target
from .roots import bind, store_of
from .world import say

BINDINGS = (1, 10, 100)
TIMES = 50
PODMANS = "/usr/lib/systemd/system-generators/podman-system-generator"


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


def hook(_world):
    """The hook at the start of a container. Yields no section yet: what it is compared with, and on which
    container, comes with the benchmark of the hook. A section has the target
    Target("bound-images-hook", "wall", 0.003)."""
    yield from ()
