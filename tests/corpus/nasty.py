#!/usr/bin/env python3
"""nasty.py LAYOUT BUSYBOX: writes the nasty images (themes.py) into an OCI layout and prints what they are.

The same bytes on every run with the same busybox (static), Python's zlib and zstd. Each is
`registry.test/nasty/NAME:1`: a manifest list of an image for this machine and one for another. Printed is a
JSON list of {name, list, manifest, config, diff_ids, layers, described}: `described` has, for each layer, the
directories that it describes, bytes as the characters of the same number.
"""

import gzip
import hashlib
import json
import subprocess
import sys

sys.dont_write_bytecode = True  # the sources stay as they are

import mkimage
import themes
from rawtar import Tar

APPLETS = "sh true cat grep ls stat find sort sha256sum id test head readlink md5sum".split()


def base(busybox):
    tar = Tar()
    for name in ("bin", "dev", "etc", "proc", "sys", "run", "var"):
        tar.directory(name.encode() + b"/")
    tar.directory(b"tmp/", mode=0o1777).add(b"etc/passwd", b"root:x:0:0:root:/:/bin/sh\n").add(b"etc/group", b"root:x:0:\n")
    with open(busybox, "rb") as file:
        tar.add(b"bin/busybox", file.read(), mode=0o755)
    for applet in APPLETS:
        tar.symlink(b"bin/" + applet.encode(), b"busybox")
    return tar.end()


def zstd(data):
    return subprocess.run(["zstd", "-q", "-6", "-T1", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def compress(data, how):
    """The blob, and what its media type calls it."""
    half = len(data) // 2
    pack = {"none": lambda part: part, "gzip": lambda part: gzip.compress(part, 6, mtime=0), "zstd": zstd}
    kind, _, parts = how.partition("-")
    return (pack[kind](data[:half]) + pack[kind](data[half:]) if parts else pack[kind](data)), kind


def write(layout, tar, how):
    blob, kind = compress(tar.data, how)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    with open(mkimage.blob_path(layout, digest), "wb") as file:
        file.write(blob)
    return {"digest": digest, "size": len(blob), "compression": kind, "diff_id": "sha256:" + hashlib.sha256(tar.data).hexdigest()}


def main():
    layout, busybox = sys.argv[1:]
    mkimage.open_layout(layout)

    def run(*words):
        args = mkimage.parser().parse_args(words)
        return mkimage.make_list(args) if words[0] == "list" else mkimage.make_image(args)

    def tar_of(name):
        return Tar().add(b"for-another-machine", name.encode()).end()

    bottom = base(busybox)
    first = write(layout, bottom, "gzip")
    other = "linux/arm64" if mkimage.host_platform() != "linux/arm64" else "linux/amd64"
    out = []
    for theme in themes.THEMES:
        name = theme.__name__.replace("_", "-")
        layers = theme()
        packed = [first] + [write(layout, tar, how) for tar, how in layers]
        words = [word for layer in packed for word in ("--layer", json.dumps(layer))]
        made = run("image", layout, *words, "--cmd", "/bin/true")
        foreign = run("image", layout, "--platform", other, "--layer", json.dumps(write(layout, tar_of(name), "gzip")))
        ref = f"registry.test/nasty/{name}:1"
        made["list"] = run("list", layout, "--ref", ref, foreign["manifest"], made["manifest"])["list"]
        made["name"] = ref
        made["described"] = [[path.decode("latin-1") for path in tar.described] for tar in [bottom] + [tar for tar, _ in layers]]
        out.append(made)
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
