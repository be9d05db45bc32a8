"""Nothing is there yet: all images of a generation are fetched (a), also over a slow link (f)."""

import os

from .results import Section, Target
from .measure import measure
from .world import say

FLOOR = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "floor.sh")
TEXT = """Every image is fetched, by digest, into an empty store. *podman pull* and *skopeo copy*: one image after the other, as bootc does. *floor*:
`curl | gunzip (or zstd -d) | tee >(sha256sum) | tar -x` of each distinct layer, two at a time, which makes no store."""


def sides(world, tools, address, with_floor):
    """(name, what it makes, commands, what to check then) of each side."""
    place, images = world.place, world.corpus.first
    names, tags = world.references(images, address), world.references(images, address, by_tag=True)
    store, root, out = place.at("store"), place.at("root"), place.at("floor")

    def verify():
        world.verified(tools, "--root", tools.inside(root))

    def bound():
        world.root("root", images, address)

    stage = tools.ours("stage", "--root", tools.inside(root))
    yield "podman pull", store, [tools.podman(store, "pull", "-q", "--tls-verify=false", name) for name in names], None, None
    yield "skopeo copy", store, [tools.skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{name}", tools.storage(store, tag))
                                 for name, tag in zip(names, tags)], None, None
    yield "bound-images", root, [stage], bound, verify
    yield "bound-images --jobs 4", root, [[*stage, "--jobs", "4"]], bound, verify
    if with_floor:
        layers = world.floor(images, address, "floor.list")
        yield "floor", out, [[FLOOR, layers, out]], None, None


def cold(world, tools, key, title, text, address, with_floor=True):
    """All sides in turn, `world.rounds` times."""
    section = Section(key, title, text, "bound-images")
    tools.insecure([address])
    for at in range(world.rounds):
        for name, made, commands, before, after in sides(world, tools, address, with_floor):
            world.place.remove(os.path.basename(made))
            if before:
                before()
            world.place.cold()
            sample = measure(commands, tools.env, world.place.path)
            say(f"{key}: round {at + 1}: {name}: {sample.wall:.2f} s")
            section.add(name, sample)
            if after:
                after()
            world.place.remove(os.path.basename(made))
    return section


def loopback(world):
    yield cold_of(world, world.tools, "cold", f"Cold, tools of this machine ({world.peers})")
    if world.newer:
        versions = world.newer.versions()
        title = f"Cold, newer tools (Podman {versions['podman']}, skopeo {versions['skopeo']})"
        yield cold_of(world, world.newer, "cold-newer", title, with_floor=False)


def cold_of(world, tools, key, title, with_floor=True):
    section = cold(world, tools, key, title, TEXT, world.registry.address, with_floor)
    section.targets = [Target("bound-images", "wall", 0.5, "podman pull"), Target("bound-images", "cpu", 0.6, "podman pull"),
                       Target("bound-images --jobs 4", "own", 64_000_000), Target("bound-images --jobs 4", "tree", 200_000_000)]
    if with_floor:
        section.targets.insert(2, Target("bound-images", "wall", 1.0, "floor"))
    return section


def slow(world):
    """(f)."""
    text = "The same through a proxy that holds back each request for 50 ms and gives each connection 5 MB/s: the shape of a real registry."
    section = cold(world, world.tools, "slow", "Cold, over a slow link", text, world.slow.address)
    section.targets = [Target("bound-images", "wall", 0.35, "podman pull")]
    yield section
