"""A host without ostree, as tools that build images make them: a plain root in a directory, packed as one file system."""

import os
import shutil

from .process import CACHE, HERE, STATE, LabError, Mounts, Timer, digest, in_chroot, log, sh
from .tree import ENABLED, MASKED, build_tree, kernel_version, link, unpack, write

# There is no network: nothing of it is started.
WANTED = {"multi-user.target": [name for name in ENABLED["multi-user.target"] if name == "lab-agent.service"]}
KERNEL_ARGUMENTS = ["root=/dev/disk/by-id/virtio-labroot", "console=hvc0", "loglevel=4", "mitigations=off", "audit=0",
                    "nokaslr", "systemd.show_status=no"]
# An image that cannot be written has its /var in memory.
FILE_SYSTEMS = {"ext4": ["rootfstype=ext4", "rw"], "erofs": ["rootfstype=erofs", "ro", "systemd.volatile=state"]}


def plain_root(directory, overlay):
    """Unpacks the Debian root of the lab's own cache, and lays the lab's files and `overlay`, the product, over it."""
    tree, tools, _ = build_tree("trixie")
    tar = f"{CACHE}/root-trixie-{os.path.basename(tools).rpartition('-')[2]}.tar"
    shutil.rmtree(STATE + "/boots", ignore_errors=True)
    os.makedirs(STATE + "/boots")
    with Timer("unpack a plain root"):
        unpack(tar, directory)
    for source in (os.path.join(HERE, "guest"), overlay):
        sh("cp", "-a", "--no-preserve=ownership", source + "/.", directory)
    with open(directory + "/usr/lib/systemd/system-preset/80-bound-images.preset", encoding="utf-8") as file:
        enabled = [line.split()[1] for line in file if line.startswith("enable ")]
    with Mounts() as mounts:
        mounts.mount("-t", "proc", "proc", directory + "/proc")
        in_chroot(directory, "systemctl", "--root=/", "preset", *enabled, quiet=True)
    units = directory + "/etc/systemd/system"
    for target, names in WANTED.items():
        os.makedirs(f"{units}/{target}.wants", exist_ok=True)
        for name in names:
            link(f"/usr/lib/systemd/system/{name}", f"{units}/{target}.wants/{name}")
    for name in MASKED:
        link("/dev/null", f"{units}/{name}")
    write(directory + "/etc/machine-id", "1ab1ab1ab1ab1ab1ab1ab1ab1ab1ab1a\n")
    write(directory + "/etc/hostname", "lab\n")
    write(directory + "/etc/fstab", "# none: the kernel arguments say where the root is\n")
    link("../run/systemd/resolve/resolv.conf", directory + "/etc/resolv.conf")
    log(f"plain root of {os.path.basename(tree)}")


def pack(root, image):
    """IMAGE.ext4 or IMAGE.erofs: one file system with all of `root`, made in one pass from the directory, as such tools do."""
    arguments(image)
    with Timer("pack " + os.path.basename(image)):
        if os.path.exists(image):
            os.unlink(image)
        if image.endswith(".ext4"):
            sh("truncate", "-s", "3G", image)
            sh("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1", "-d", root, image)
        else:
            sh("mkfs.erofs", "--quiet", "--preserve-mtime", image, root)


def arguments(image):
    """The kernel arguments for an image, whose name ends with its kind."""
    kind = image.rpartition(".")[2]
    if kind not in FILE_SYSTEMS:
        raise LabError(f"{image}: the name has to end with .ext4 or .erofs")
    return " ".join([*KERNEL_ARGUMENTS, *FILE_SYSTEMS[kind]])


def kernel(directory):
    """Copies the kernel and the initramfs of the lab's hosts into a directory. The initramfs does without ostree where
    the kernel arguments do not name a deployment."""
    tree = build_tree("trixie")[0]
    modules = f"{tree}/usr/lib/modules/{kernel_version(tree)}"
    shutil.copy(modules + "/vmlinuz", directory + "/linux")
    shutil.copy(modules + "/initramfs.img", directory + "/initrd")
