#!/usr/bin/env python3
"""host.py HOST COMMAND...: an ostree host in a directory that stands for the running system.

  deploy LETTER [NAME=REFERENCE]...   files of a root, with a bound container for each name
  undeploy LETTER
  boot LETTER                         LETTER runs, nothing is staged
  stage LETTER                        LETTER is to be the next root
  path LETTER                         where its files are
"""

import hashlib
import shutil
import struct
import sys
from pathlib import Path


def name_of(letter):
    return hashlib.sha256(letter.encode()).hexdigest() + ".0"


def files_of(host, letter):
    return host / "sysroot/ostree/deploy/fedora/deploy" / name_of(letter)


def dictionary(entries):
    """A GVariant a{sv}, shorter than 256 bytes (so that an offset is one byte)."""
    out, ends = b"", []
    for key, value in entries:
        out += b"\0" * (-len(out) % 8)
        entry = key.encode() + b"\0"
        end = len(entry)
        out += entry + b"\0" * (-len(entry) % 8) + value + bytes([end])
        ends.append(len(out))
    return out + struct.pack(f"{len(ends)}B", *ends)


def staged(name):
    def text(value):
        return value.encode() + b"\0\0s"

    target = dictionary([("name", text(name)), ("osname", text("fedora"))])
    return dictionary([("target", target + b"\0a{sv}")])


def main():
    host, command, letter, *images = Path(sys.argv[1]), *sys.argv[2:]
    files, announced = files_of(host, letter), host / "run/ostree/staged-deployment"
    announced.parent.mkdir(parents=True, exist_ok=True)
    if command == "deploy":
        quadlets, links = files / "usr/share/containers/systemd", files / "usr/lib/bootc/bound-images.d"
        quadlets.mkdir(parents=True, exist_ok=True)
        links.mkdir(parents=True, exist_ok=True)
        for image in images:
            name, reference = image.split("=", 1)
            (quadlets / f"{name}.container").write_text(f"[Container]\nImage={reference}\n")
            link = links / f"{name}.container"
            link.unlink(missing_ok=True)
            link.symlink_to(f"/usr/share/containers/systemd/{name}.container")
    elif command == "undeploy":
        shutil.rmtree(files)
    elif command == "boot":
        proc = host / "proc/self"
        proc.mkdir(parents=True, exist_ok=True)
        (proc / "mountinfo").write_text(
            f"30 1 8:1 /ostree/deploy/fedora/deploy/{files.name} / rw - ext4 /dev/vda rw\n")
        announced.unlink(missing_ok=True)
    elif command == "stage":
        announced.write_bytes(staged(files.name))
    elif command == "path":
        print(files)


main()
