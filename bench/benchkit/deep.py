"""Every byte is read again (d)."""

from .measure import measure, run
from .results import Section, Target
from .roots import store_of
from .settled import filled
from .world import say

# As many at a time as there are cores, as the others do it.
HASH = 'find "$1" -type f -print0 | xargs -0 -r -n 64 -P "$(nproc)" sha256sum >/dev/null'


def deep(world):
    """(d)."""
    tools, images = world.tools, world.corpus.first
    tools.insecure([world.registry.address])
    text = """All images of a store are read and compared with their layers. *podman system check* looks at a store that the same Podman pulled.
*sha256sum*: of all files of our store, on all cores. The page cache is dropped before each."""
    section = Section("deep", "Deep verification", text, "verify --deep")
    root = world.root("root", images)
    run(tools.ours("stage", "--root", tools.inside(root)), env=tools.env)
    sides = {"verify --deep": (tools, tools.ours("verify", "--deep", "--root", tools.inside(root))),
             "sha256sum": (tools, ["sh", "-c", HASH, "sh", store_of(root)])}
    peer = next((peer for peer in (tools, world.newer) if peer and checks(peer)), None)
    if peer:
        peer.insecure([world.registry.address])
        store = filled(world, peer, "store", images)
        sides["podman system check"] = (peer, peer.podman(store, "system", "check"))
    else:
        section.skipped.append("podman system check: needs Podman 5 (tests/setup/chroot.sh trixie)")
    for at in range(world.rounds):
        for name, (whose, command) in sides.items():
            world.place.cold()
            section.add(name, measure([command], whose.env))
        say(f"deep: round {at + 1}")
    section.targets = [Target("verify --deep", "wall", 0.2, "podman system check"), Target("verify --deep", "wall", 1 / 0.7, "sha256sum")]
    world.place.remove("root")
    world.place.remove("store")
    yield section


def checks(tools):
    """Whether this Podman has `system check` (5.2 and later)."""
    return tuple(map(int, tools.versions()["podman"].split(".")[:2])) >= (5, 2)
