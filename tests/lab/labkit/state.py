"""The disks of the lab: a qcow2 chain on a base, with named snapshots that a test can start from.

The snapshots are with their base, so that labs of several lanes share them."""

import json
import os
import re
import shutil
import subprocess

from .process import STATE, LabError, out, sh

BOOT_DISK = STATE + "/boot.raw"
ROOT_DISK = STATE + "/root.qcow2"
LOOKED_AT = STATE + "/boot.looked-at"
RESUME = STATE + "/resume"
# The memory of a machine that was suspended, until `save` gives it a name: another lane may be saving the same one.
SUSPENDED = STATE + "/suspended.memory"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def current():
    try:
        with open(STATE + "/current.json", encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise LabError("no lab here: run `tests/lab/lab up` first") from error


def snapshots():
    return current()["base"] + "/snapshots"


def use(base):
    """Makes `base` the lab's base; what was made on another one is dropped."""
    try:
        if current()["base"] != base:
            shutil.rmtree(STATE)
    except LabError:
        shutil.rmtree(STATE, ignore_errors=True)
    os.makedirs(STATE, exist_ok=True)
    with open(STATE + "/current.json", "w", encoding="utf-8") as file:
        json.dump({"base": base}, file)
    os.makedirs(snapshots(), exist_ok=True)
    reset()


def reset():
    """Back to the base disk; forgets the boots, keeps the snapshots."""
    base = current()["base"]
    start_from(base + "/root.raw", "raw", base + "/boot.raw")
    shutil.rmtree(STATE + "/boots", ignore_errors=True)
    os.makedirs(STATE + "/boots")


def start_from(root, kind, boot, memory=None):
    for stale in (RESUME, RESUME + ".new"):
        if os.path.lexists(stale):
            os.unlink(stale)
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", root, "-F", kind, ROOT_DISK + ".new")
    sh("cp", "--sparse=always", boot, BOOT_DISK + ".new")
    os.rename(ROOT_DISK + ".new", ROOT_DISK)
    os.rename(BOOT_DISK + ".new", BOOT_DISK)
    if memory and os.path.exists(memory):
        os.symlink(memory, RESUME)


def take_memory(resumes):
    """The memory of the suspended machine to go on with, for the first boot after `restore` only."""
    if not os.path.lexists(RESUME):
        return None
    memory = os.readlink(RESUME)
    os.unlink(RESUME)
    return memory if resumes else None


def snapshot_files(name):
    if not NAME.fullmatch(name):
        raise LabError(f"not a name for a snapshot: {name}")
    return f"{snapshots()}/{name}.qcow2", f"{snapshots()}/{name}.boot.raw"


def memory_file(name):
    return snapshot_files(name)[0] + ".memory"


def has_snapshot(name):
    return all(os.path.exists(file) for file in snapshot_files(name))


def save(name, memory=None):
    """The disks as they are (of a suspended machine: with its memory, a file that is moved) become snapshot `name`; the lab goes on with a new layer above it."""
    root, boot = snapshot_files(name)
    if os.path.exists(root):
        raise LabError(f"there is a snapshot {name} already, and others may be chained to it: `lab drop {name}`, if none is")
    sh("cp", "--sparse=always", BOOT_DISK, boot)
    if memory:
        os.rename(memory, memory_file(name))
    os.rename(ROOT_DISK, root)
    start_from(root, "qcow2", boot, memory_file(name))


def restore(name):
    root, boot = snapshot_files(name)
    if not has_snapshot(name):
        raise LabError(f"no snapshot {name}: `lab save {name}` makes one")
    start_from(root, "qcow2", boot, memory_file(name))


def drop(name):
    """Forgets a snapshot that no other one is chained to; none of that name is as good."""
    for file in (*snapshot_files(name), memory_file(name)):
        if os.path.exists(file):
            os.unlink(file)


def entries():
    """The boot loader entries that ostree left on the boot disk, default first, as {key: value}."""
    # A boot loader would see what is on the disk, with the journal of an unclean unmount replayed. In a copy: a suspended
    # machine has this file system mounted, and would find blocks that its memory does not know of.
    sh("cp", "--sparse=always", BOOT_DISK, LOOKED_AT)
    subprocess.run(["e2fsck", "-p", LOOKED_AT], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    # "loader" is a symlink to loader.0 or loader.1
    link = re.search(r'Fast link dest: "([^"]+)"', debugfs("stat /loader"))
    if not link:
        raise LabError("no symlink /loader on the boot disk")
    directory = f"/{link.group(1).strip('/')}/entries"
    found = []
    for line in debugfs("ls -p " + directory).splitlines():
        fields = line.split("/")
        if len(fields) > 5 and fields[5].endswith(".conf"):
            rows = (row.partition(" ") for row in debugfs(f"cat {directory}/{fields[5]}").splitlines())
            found.append({key: value.strip() for key, _, value in rows})
    if not found:
        raise LabError(f"no entries in {directory} of the boot disk")
    return sorted(found, key=lambda entry: int(entry.get("version", "0")), reverse=True)


def debugfs(command):
    return out("debugfs", "-R", command, LOOKED_AT, stderr=subprocess.DEVNULL)


def dump(path, target):
    """Copies a file of the boot disk as `entries` saw it; `path` as an entry names it, with or without /boot."""
    sh("debugfs", "-R", f"dump {re.sub('^/boot', '', path)} {target}", LOOKED_AT, stderr=subprocess.DEVNULL)
