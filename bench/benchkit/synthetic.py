"""Images that are made up (tests/corpus/mkimage.py): many small ones, many layers, many files, and a tiny corpus."""

import argparse
import json
import os
import random
import sys

from .served import PROJECT

sys.path.insert(0, os.path.join(PROJECT, "tests", "corpus"))
import mkimage  # noqa: E402  (a script of the tests, not a module of ours)


def image(layout, name, layers):
    """An image of layers, each a list of entries as mkimage.py takes them, or a descriptor of `layer`."""
    mkimage.open_layout(layout)
    words = ["image", layout, "--ref", name]
    for entries in layers:
        words += ["--layer", json.dumps(entries if isinstance(entries, dict) else layer(layout, entries))]
    return mkimage.make_image(mkimage.parser().parse_args(words))


def layer(layout, entries, compression="gzip"):
    """Writes one layer; its descriptor."""
    mkimage.open_layout(layout)
    source = os.path.join(layout, f"entries-{os.getpid()}.json")
    with open(source, "w", encoding="utf-8") as file:
        json.dump(entries, file)
    try:
        return mkimage.write_layer(layout, f"{source}={compression}", 1_700_000_000)
    finally:
        os.unlink(source)


def text(seed, size):
    """What compresses as programs do, about to a third; the same bytes for the same seed."""
    source = random.Random(seed)
    words = [source.randbytes(6).hex() for _ in range(512)]
    return "".join(source.choices(words, k=size // 12))


def files(name, count, size=0):
    """A directory with files, 1000 in each directory below it."""
    entries = [{"path": name, "type": "dir"}]
    for at in range(count):
        if at % 1000 == 0:
            entries.append({"path": f"{name}/{at // 1000}", "type": "dir"})
        content = text(f"{name}{at}", size) if size else str(at)
        entries.append({"path": f"{name}/{at // 1000}/{at}", "content": content})
    return entries


def many(layout, count, prefix="registry.test/many"):
    """Images with a layer of their own on one that they share."""
    base = layer(layout, files("base", 20, 1000))
    return [image(layout, f"{prefix}/image{at}:1", [base, [{"path": f"own{at}", "content": str(at)}]]) for at in range(count)]


def layered(layout, count):
    """One image of that many layers."""
    name = f"registry.test/layers/of{count}:1"
    return image(layout, name, [files(f"layer{at}", 5, 200) for at in range(count)])


def filed(layout, count):
    """One image with that many files in one layer."""
    return image(layout, f"registry.test/files/of{count}:1", [files("files", count)])


def tiny(directory):
    """Some megabytes in place of the corpus, to see that the benchmark works: its figures mean nothing."""
    layout, path = os.path.join(directory, "layout"), os.path.join(directory, "corpus.json")
    if os.path.exists(path):
        return path
    os.makedirs(directory, exist_ok=True)
    base = layer(layout, files("base", 500, 3000))
    first = []
    for name, compression, count in (("small", "zstd", 20), ("middle", "gzip", 200), ("big", "zstd", 1500)):
        own = layer(layout, files(name, count, 3000), compression)
        first.append(image(layout, f"bench/{name}:1", [base, own]))
    update = image(layout, "bench/small:2", [base, layer(layout, files("small", 21, 3000), "zstd")])
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"what": "made up, tiny", "first": first, "second": [update, *first[1:]], "update": "small 1 -> 2", "updated": "small"}, file)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=tiny.__doc__)
    parser.add_argument("directory")
    print(tiny(parser.parse_args().directory))
