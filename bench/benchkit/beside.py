"""What others on a host feel of it: how long a small service takes for its answers while images are fetched."""

import os
import subprocess
import sys
import time

from .cold import sides
from .measure import Failed, Sample, measure
from .results import Section, Target
from .world import say

PROBE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "probe.py")
# What units/bound-images-stage.service sets, but for the weights: not every machine has control groups for them.
UNIT = ["nice", "-n", "15", "ionice", "-c", "3"]
# For as long, it is alone.
ALONE = 5
TEXT = """A small service hashes 1 MB and puts 4 KB onto the disk, every 20 ms: how long does it take for that while images are fetched, from the first
byte until all is on the disk? *99th percentile* and *median* of its answers. *as its unit*: with `Nice=15` and `IOSchedulingClass=idle`, which
`bound-images-stage.service` sets; the unit's weights of CPU and I/O come on top of them, and are not measured here."""


class Probe:
    """The small service, as long as the block lasts."""

    def __init__(self, path):
        self.command = [sys.executable, PROBE, path]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        # Its first second does not count.
        time.sleep(1.2)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.answers = sorted(map(float, self.process.communicate()[0].split()))

    def sample(self):
        """The 99th percentile as `wall`, the median as `cpu`."""
        if len(self.answers) < 10:
            raise Failed(f"the probe gave {len(self.answers)} answers: too few to say anything")
        return Sample(self.answers[len(self.answers) * 99 // 100], self.answers[len(self.answers) // 2])


def beside(world):
    section = Section("beside", "Beside a service that works", TEXT, "bound-images, as its unit", names=("99th percentile", "median"))
    tools, place = world.tools, world.place
    tools.insecure([world.registry.address])
    for at in range(world.rounds):
        place.cold()
        with Probe(place.at("probe")) as probe:
            time.sleep(ALONE)
        section.add("alone", probe.sample())
        for name, made, commands, before, _ in rows(world):
            place.remove(os.path.basename(made))
            if before:
                before()
            place.cold()
            with Probe(place.at("probe")) as probe:
                measure(commands, tools.env, place.path)
            section.add(name, probe.sample())
            place.remove(os.path.basename(made))
        say(f"beside: round {at + 1}")
    place.remove("probe")
    section.targets = [Target("bound-images, as its unit", "wall", 1.0, "podman pull")]
    yield section


def rows(world):
    wanted = {side[0]: side for side in sides(world, world.tools, world.registry.address, with_floor=False)}
    yield wanted["podman pull"]
    yield wanted["bound-images"]
    _, made, commands, before, after = wanted["bound-images"]
    yield "bound-images, as its unit", made, [[*UNIT, *command] for command in commands], before, after
