"""How time and memory grow with images, layers, files and roots. Page cache warm, synced."""

import math
import os
import shutil
from dataclasses import dataclass
from statistics import median

from . import served, synthetic
from .measure import measure, run
from .place import Place
from .roots import Host, bind
from .tools import Tools
from .world import say

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200)
FILES = (10, 100, 1000, 10_000, 100_000, 1_000_000)
ROOTS = (1, 2, 5, 10, 20)
# Of each root of a host with many.
IMAGES_OF_ROOT = 10


@dataclass
class Setting:
    """`most`: no size above this, for a quick look."""
    place: Place
    tools: Tools
    address: str
    rounds: int
    most: int | None

    def sizes(self, sizes):
        return [size for size in sizes if self.most is None or size <= self.most]


def all_lines(setting):
    return [of_layout(setting, "Images of a root", COUNTS, synthetic.many),
            of_layout(setting, "Layers of an image", COUNTS, lambda layout, count: [synthetic.layered(layout, count)]),
            of_layout(setting, "Files of a layer", FILES, lambda layout, count: [synthetic.filed(layout, count)], registry=False),
            of_roots(setting)]


def of_layout(setting, title, sizes, make, registry=True):
    """What is done with one root whose images `make` makes."""
    samples = {}
    for size in setting.sizes(sizes):
        layout = setting.place.fresh("layout")
        images = make(layout, size)
        if registry:
            served.serve(setting.address, layout, images)
        for at in range(setting.rounds):
            for name, sample in one_root(setting, layout, images, registry):
                samples.setdefault(name, {}).setdefault(size, []).append(sample)
            say(f"{title}: {size}, round {at + 1}")
        setting.place.remove("layout")
        setting.place.remove("root")
    return line(title, samples)


def one_root(setting, layout, images, registry):
    """(name, sample) of each command, on a fresh root."""
    place, tools = setting.place, setting.tools
    ways = {"stage, from a layout": (["--bundle", layout], [image["name"] for image in images])}
    if registry:
        ways["stage, from a registry"] = ([], [served.name_at(setting.address, image) for image in images])
    for name, (words, references) in ways.items():
        root = place.fresh("root")
        bind(root, references)
        run(["sync"])
        yield name, measure([tools.ours("stage", "--root", root, *words)], tools.env, place.path)
    yield "stage, again", measure([tools.ours("stage", "--root", root, *words)], tools.env, place.path)
    yield "verify --deep", measure([tools.ours("verify", "--deep", "--root", root)], tools.env)


def of_roots(setting):
    """A host with a growing number of roots, each of which has one image of its own and shares the others with
    the root before it."""
    place, tools, samples = setting.place, setting.tools, {}
    sizes = setting.sizes(ROOTS)
    layout = place.fresh("layout")
    names = [image["name"] for image in synthetic.many(layout, IMAGES_OF_ROOT + max(sizes))]
    for at in range(setting.rounds):
        top = place.fresh("host")
        host = Host(top)
        words = ["--host", top, "--bundle", layout]
        for number in range(1, max(sizes) + 1):
            host.deploy(number, names[number:number + IMAGES_OF_ROOT])
            if number == 1:
                host.boot(1)
                staged = measure([tools.ours("stage", "--late-binding", *words)], tools.env, place.path)
            else:
                host.stage(number)
                staged = measure([tools.ours("stage", *words)], tools.env, place.path)
                host.unstage()
            if number not in sizes:
                continue
            run(["sync"])
            found = {"stage one more": staged, "status": measure([tools.ours("status", "--host", top)], tools.env),
                     "gc, nothing to do": measure([tools.ours("gc", "--host", top)], tools.env)}
            for name, sample in found.items():
                samples.setdefault(name, {}).setdefault(number, []).append(sample)
        if len(os.listdir(os.path.join(top, "sysroot/bound-images/roots"))) != max(sizes):
            raise SystemExit("bench: a root has no store")
        say(f"Roots of a host: round {at + 1}")
        shutil.rmtree(top)
    return line("Roots of a host", samples)


def line(title, samples):
    """For benchmark-scale.json."""
    series = []
    for name, sizes in samples.items():
        points = [{"at": size, **{metric: middle(its, metric) for metric in ("wall", "cpu", "own")}} for size, its in sizes.items()]
        series.append({"name": name, "points": points, "exponent": {metric: exponent(points, metric) for metric in ("wall", "own")}})
    return {"title": title, "series": series}


def middle(samples, metric):
    values = [value for value in (getattr(sample, metric) for sample in samples) if value is not None]
    return round(median(values), 6) if values else None


def exponent(points, metric):
    """Of the power that fits the two largest sizes."""
    if len(points) < 2 or not (points[-2][metric] and points[-1][metric]):
        return None
    (x, y), (end, much) = [(point["at"], point[metric]) for point in points[-2:]]
    return round(math.log(much / y) / math.log(end / x), 3)
