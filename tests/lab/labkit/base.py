"""From a tree to disks: a root file system with one ostree deployment, and /boot on its own disk."""

import io
import json
import os
import shutil

from .process import CACHE, Mounts, Timer, digest, in_chroot, sh, tree_digest
from .tree import build_tree, kernel_version

OS_NAME = "lab"
# The console is a virtio one: the emulated 16550 costs seconds.
KERNEL_ARGUMENTS = ["root=LABEL=labroot", "rw", "console=hvc0", "loglevel=4", "mitigations=off", "audit=0",
                    "nokaslr", "systemd.show_status=no"]
MKFS = {"xfs": ["mkfs.xfs", "-q", "-f", "-L", "labroot", "-m", "reflink=1"],
        "btrfs": ["mkfs.btrfs", "-q", "-f", "-L", "labroot"]}


def build_base(ostree, file_system, prepare_root, overlay):
    """Returns the directory with root.raw and boot.raw; builds it when the cache has none of that key."""
    tree, tools, tree_key = build_tree(ostree)
    conf = b"[sysroot]\nreadonly=true\n"
    if prepare_root:
        with open(prepare_root, "rb") as file:
            conf = file.read()
    key = digest("base", tree_key, file_system, conf, tree_digest(overlay) if overlay else "", KERNEL_ARGUMENTS)
    base = f"{CACHE}/base-{key}"
    if os.path.exists(base + "/meta.json"):
        return base
    sh("rm", "-rf", "--one-file-system", base)
    os.makedirs(base)
    with Timer("mkfs"):
        make_disks(base, file_system, tools)
    lay_over(base + "/overlay", tree, tools, conf, overlay)
    commit_and_deploy(base, tree, tools)
    shutil.rmtree(base + "/overlay")
    with open(base + "/meta.json", "w", encoding="utf-8") as file:
        json.dump({"ostree": ostree, "fs": file_system, "prepare_root": conf.decode()}, file)
    return base


def make_disks(base, file_system, tools):
    sh("truncate", "-s", "10G", base + "/root.raw")
    sh("truncate", "-s", "512M", base + "/boot.raw")
    sh("mkfs.ext4", "-q", "-F", "-L", "labboot", base + "/boot.raw")
    if file_system == "ext4":
        sh("mkfs.ext4", "-q", "-F", "-L", "labroot", "-O", "verity", "-E", "lazy_itable_init=1", base + "/root.raw")
        return
    with Mounts() as mounts:
        mounts.mount("--bind", base, tools + "/mnt")
        in_chroot(tools, *MKFS[file_system], "/mnt/root.raw")


def lay_over(directory, tree, tools, conf, overlay):
    """The files that differ from the tree: the product, prepare-root.conf, an initramfs that knows it."""
    kernel = kernel_version(tree)
    os.makedirs(directory + "/usr/lib/ostree")
    os.makedirs(f"{directory}/usr/lib/modules/{kernel}")
    if overlay:
        sh("cp", "-a", "--no-preserve=ownership", overlay + "/.", directory)
        enable_units(directory, tools)
    with open(directory + "/usr/lib/ostree/prepare-root.conf", "wb") as file:
        file.write(conf)
    image = f"/usr/lib/modules/{kernel}/initramfs.img"
    with open(directory + image, "wb") as file, open(tree + image, "rb") as initramfs:
        shutil.copyfileobj(initramfs, file)
        file.write(b"\0" * (-file.tell() % 512))
        file.write(cpio({"usr/lib/ostree/prepare-root.conf": conf}))


def enable_units(directory, tools):
    """What `systemctl preset-all` does when a package is built into an image, for the overlay's units."""
    if not os.path.isdir(directory + "/usr/lib/systemd/system-preset"):
        return
    os.makedirs(tools + "/lab/preset", exist_ok=True)
    with Mounts() as mounts:
        mounts.mount("-t", "proc", "proc", tools + "/proc")
        mounts.mount("--bind", directory, tools + "/lab/preset")
        in_chroot(tools, "systemctl", "--root=/lab/preset", "preset-all", quiet=True)
    if os.path.isdir(directory + "/etc"):
        os.makedirs(directory + "/usr/etc", exist_ok=True)
        sh("cp", "-a", directory + "/etc/.", directory + "/usr/etc/")
        sh("rm", "-rf", directory + "/etc")


def commit_and_deploy(base, tree, tools):
    with Mounts() as mounts:
        mounts.mount("-o", "loop", base + "/root.raw", tools + "/mnt")
        os.mkdir(tools + "/mnt/boot")
        mounts.mount("-o", "loop", base + "/boot.raw", tools + "/mnt/boot")
        for source, name in ((tree, "tree"), (base + "/overlay", "overlay")):
            os.makedirs(f"{tools}/lab/{name}", exist_ok=True)
            mounts.mount("--bind", source, f"{tools}/lab/{name}")
        mounts.mount("-t", "proc", "proc", tools + "/proc")
        mounts.mount("--bind", "/dev", tools + "/dev")
        repo = "--repo=/mnt/ostree/repo"
        with Timer("ostree commit"):
            in_chroot(tools, "ostree", "admin", "init-fs", "--modern", "/mnt")
            in_chroot(tools, "ostree", "config", repo, "set", "sysroot.bootloader", "none")
            in_chroot(tools, "ostree", "admin", "os-init", "--sysroot=/mnt", OS_NAME)
            in_chroot(tools, "ostree", "commit", repo, "--branch=lab/host", "--subject=lab base",
                      "--tree=dir=/lab/tree", "--tree=dir=/lab/overlay", "--timestamp=2026-01-01 00:00:00 +0000",
                      "--add-metadata-string=version=base", quiet=True)
        with Timer("ostree admin deploy"):
            in_chroot(tools, "ostree", "admin", "deploy", "--sysroot=/mnt", "--os=" + OS_NAME,
                      *["--karg=" + word for word in KERNEL_ARGUMENTS], "lab/host", quiet=True)
        sh("sync", "-f", tools + "/mnt")


def cpio(files):
    """A newc archive of {path: bytes}, with the parent directories; the kernel reads it after the first."""
    archive, seen = io.BytesIO(), set()

    def pad():
        archive.write(b"\0" * (-archive.tell() % 4))

    def entry(name, mode, data=b""):
        raw = name.encode() + b"\0"
        fields = (len(seen) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        archive.write(b"070701" + "".join(f"{field:08X}" for field in fields).encode() + raw)
        pad()
        archive.write(data)
        pad()
        seen.add(name)

    for path, data in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent not in seen:
                entry(parent, 0o040755)
        entry(path, 0o100644, data)
    entry("TRAILER!!!", 0)
    archive.write(b"\0" * (-archive.tell() % 512))
    return archive.getvalue()
