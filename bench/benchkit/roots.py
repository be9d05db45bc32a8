"""Roots that bind images: a directory (`--root`), and a host with deployments and a pool (`--host`)."""

import os
import shutil
import struct


def bind(root, references):
    """Binds references in a root, a Quadlet for each: `imageN.container`."""
    quadlets = os.path.join(root, "usr/share/containers/systemd")
    links = os.path.join(root, "usr/lib/bootc/bound-images.d")
    os.makedirs(quadlets)
    os.makedirs(links)
    for at, reference in enumerate(references):
        name = f"image{at}.container"
        with open(os.path.join(quadlets, name), "w", encoding="ascii") as file:
            file.write(f"[Unit]\nDescription=Image {at}\n\n[Container]\nImage={reference}\n\n[Install]\nWantedBy=multi-user.target\n")
        os.symlink(f"/usr/share/containers/systemd/{name}", os.path.join(links, name))


def store_of(root):
    return os.path.join(root, "usr/lib/containers/storage")


class Host:
    """A host whose `/` is a directory: deployments as ostree lays them out (tests/common/host.rs has the same)."""

    def __init__(self, top):
        self.top = top
        os.makedirs(os.path.join(top, "run/ostree"))
        os.makedirs(os.path.join(top, "proc/self"))

    def id(self, name):
        """The id of the deployment that a number stands for."""
        return f"{name:064x}.0"

    def files(self, name):
        return os.path.join(self.top, "sysroot/ostree/deploy/bench/deploy", self.id(name))

    def deploy(self, name, references):
        os.makedirs(self.files(name))
        bind(self.files(name), references)

    def undeploy(self, name):
        shutil.rmtree(self.files(name))

    def boot(self, name):
        with open(os.path.join(self.top, "proc/self/mountinfo"), "w", encoding="ascii") as file:
            file.write(f"30 1 8:1 /ostree/deploy/bench/deploy/{self.id(name)} / rw - ext4 /dev/vda rw\n")

    def stage(self, name):
        with open(os.path.join(self.top, "run/ostree/staged-deployment"), "wb") as file:
            file.write(staged_file(self.id(name)))

    def unstage(self):
        os.unlink(os.path.join(self.top, "run/ostree/staged-deployment"))


def staged_file(deployment):
    """What ostree writes when a root is staged: a GVariant `a{sv}` with `target`, a dictionary with `name`."""
    def variant(value, kind):
        return value + b"\0" + kind

    def array(key, value):
        entry = key + b"\0"
        end = len(entry)
        entry += b"\0" * (-len(entry) % 8) + value + struct.pack("B", end)
        size = len(entry)
        # Offsets are as wide as the whole needs.
        return entry + (struct.pack("B", size) if size < 255 else struct.pack("<H", size))

    name = variant(deployment.encode() + b"\0", b"s")
    return array(b"target", variant(array(b"name", name), b"a{sv}"))
