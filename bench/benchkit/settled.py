"""Something is there already: nothing changed (b), one of N images changed (c)."""

from .results import Section, Target
from .measure import measure, measure_short, run
from .roots import Host
from .world import say

SHORT = 20


def filled(world, tools, name, images, by_tag=False):
    """A store of Podman's with these images."""
    store = world.place.fresh(name)
    for reference in world.references(images, by_tag=by_tag):
        run(tools.podman(store, "pull", "-q", "--tls-verify=false", reference), env=tools.env)
    return store


class Upgrade:
    """A host that runs the first generation from its pool; what is staged is another root."""

    def __init__(self, world, tools):
        self.world, self.tools = world, tools
        self.top = world.place.fresh("host")
        self.host = Host(self.top)
        self.host.deploy(1, world.references(world.corpus.first))
        self.host.boot(1)
        run(self.ours("stage", "--late-binding"), env=tools.env)

    def ours(self, *words):
        return self.tools.ours(*words, "--host", self.tools.inside(self.top))

    def stage(self, images, cold=True, by_tag=False):
        """Stages a root with these images, measured; afterwards it is as if it had never been."""
        self.host.deploy(2, self.world.references(images, by_tag=by_tag))
        self.host.stage(2)
        if cold:
            self.world.place.cold()
        sample = measure([self.ours("stage")], self.tools.env, self.world.place.path)
        self.world.verified(self.tools, "--root", "staged", "--host", self.tools.inside(self.top))
        self.host.unstage()
        self.host.undeploy(2)
        run(self.ours("gc"), env=self.tools.env)
        return sample


def unchanged(world):
    """(b)."""
    tools, images = world.tools, world.corpus.first
    tools.insecure([world.registry.address])
    text = """Everything is there. *podman image exists*: asked for each image. *again*: the same root is staged a second time. *another root*: a new
root of a host with a pool binds the same images, which costs a link; synced to disk. *by tag*: that root names tags, and the registry is asked what
they mean now; all else, here and in the other sections, is by digest. The page cache is warm."""
    section = Section("unchanged", "No change", text, "bound-images, again")
    store, upgrade = filled(world, tools, "store", images), Upgrade(world, tools)
    root = world.root("root", images)
    stage = tools.ours("stage", "--root", tools.inside(root))
    run(stage, env=tools.env)
    exists = [tools.podman(store, "image", "exists", name) for name in world.references(images)]
    for at in range(world.rounds):
        section.add("podman image exists", measure(exists, tools.env))
        section.add("bound-images, again", measure_short(stage, SHORT, tools.env))
        section.add("bound-images, another root", upgrade.stage(images, cold=False))
        section.add("bound-images, another root, by tag", upgrade.stage(images, cold=False, by_tag=True))
        say(f"unchanged: round {at + 1}")
    section.targets = [Target("bound-images, again", "wall", 0.020)]
    world.place.remove("root")
    world.place.remove("store")
    world.place.remove("host")
    yield section


def changed(world):
    """(c)."""
    tools, corpus = world.tools, world.corpus
    tools.insecure([world.registry.address])
    # skopeo refuses to copy an image out of a store to a name by digest: "would require changing layer representation".
    kept, new = world.references(corpus.unchanged(), by_tag=True), world.references(corpus.changed())
    both = f"""{len(kept)} of {len(corpus.second)} images stay, one gets a security update ({corpus.update}). *skopeo copy*: each image that stays, from store
to store; then one *podman pull*. bound-images: a root with the second generation is staged on a host that runs the first; what stays is hard links in its pool."""
    section = Section("changed", "One image of many changed", both, "bound-images")
    part = Section("changed-kept", "One image of many changed: those that stay",
                   "Only the images that stay: a root that binds no other. This is what the target is about.", "bound-images")
    old, upgrade = filled(world, tools, "old", corpus.first, by_tag=True), Upgrade(world, tools)
    store = world.place.at("store")
    copies = [tools.skopeo("copy", "-q", tools.storage(old, name), tools.storage(store, name)) for name in kept]
    pulls = [tools.podman(store, "pull", "-q", "--tls-verify=false", name) for name in new]
    for at in range(world.rounds):
        for which, commands, images in ((section, copies + pulls, corpus.second), (part, copies, corpus.unchanged())):
            world.place.remove("store")
            world.place.cold()
            which.add("skopeo copy" + (", podman pull" if which is section else ""), measure(commands, tools.env, world.place.path))
            which.add("bound-images", upgrade.stage(images))
        say(f"changed: round {at + 1}")
    part.targets = [Target("bound-images", "wall", 0.1, "skopeo copy")]
    for name in ("store", "old", "host"):
        world.place.remove(name)
    yield section
    yield part
