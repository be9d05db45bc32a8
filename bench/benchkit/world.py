"""What all sections measure with: the corpus, served; the place; the tools; how many rounds."""

import json
import os
import sys
from dataclasses import dataclass

from . import served
from .measure import run
from .place import Place
from .roots import bind
from .tools import Tools


@dataclass
class Corpus:
    """Two generations of images in an OCI layout; see bench/corpus.sh."""
    layout: str
    what: str
    first: list
    second: list
    update: str
    updated: str

    @classmethod
    def read(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(os.path.join(os.path.dirname(path), "layout"), **json.load(file))

    def unchanged(self):
        """The images of the second generation that the first has too."""
        names = {image["name"] for image in self.first}
        return [image for image in self.second if image["name"] in names]

    def changed(self):
        kept = {image["name"] for image in self.unchanged()}
        return [image for image in self.second if image["name"] not in kept]

    def layers(self, images):
        """Distinct layers, largest first: (image, digest, compression, diff id, size)."""
        found = {}
        for image in images:
            with open(push_path(self.layout, image["manifest"]), encoding="utf-8") as file:
                manifest = json.load(file)
            for layer, diff_id in zip(manifest["layers"], image["diff_ids"]):
                compression = layer["mediaType"].rpartition("+")[2]
                compression = compression if compression in ("gzip", "zstd") else "none"
                found.setdefault(layer["digest"], (image, layer["digest"], compression, diff_id, layer["size"]))
        return sorted(found.values(), key=lambda layer: -layer[4])


def push_path(layout, digest):
    return served.push.blob_path(layout, digest)


@dataclass
class World:
    """`newer` is None where there is no chroot of a newer Debian."""
    place: Place
    corpus: Corpus
    tools: Tools
    newer: Tools | None
    registry: served.Program
    slow: served.Program | None
    rounds: int
    peers: str

    def references(self, images, address=None, by_tag=False):
        return [served.name_at(address or self.registry.address, image, by_tag) for image in images]

    def root(self, name, images, address=None):
        """A fresh root that binds images."""
        root = self.place.fresh(name)
        bind(root, self.references(images, address))
        return root

    def floor(self, images, address, name):
        """The list that bench/floor.sh reads, and the command."""
        path = self.place.at(name)
        with open(path, "w", encoding="utf-8") as file:
            for image, digest, compression, diff_id, _ in self.corpus.layers(images):
                repository = served.name_at(address, image).partition("/")[2].partition("@")[0]
                url = f"http://{address}/v2/{repository}/blobs/{digest}"
                print(url, compression, diff_id.removeprefix("sha256:"), file=file)
        return path

    def verified(self, tools, *words):
        """What we wrote is what its layers say, file for file."""
        run(tools.ours("verify", "--deep", *words), env=tools.env)


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)
