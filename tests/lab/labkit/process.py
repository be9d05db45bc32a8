"""Programs the lab runs, mounts that are undone, and the places of its files."""

import hashlib
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
PROJECT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("LAB_CACHE", os.path.join(PROJECT, "target", "lab", "cache"))
STATE = os.environ.get("LAB_STATE", os.path.join(PROJECT, "target", "lab", "state"))


class LabError(Exception):
    """The lab itself cannot go on; says what failed and what to do."""


def log(text):
    print("lab:", text, file=sys.stderr, flush=True)


def sh(*cmd, **options):
    """Runs a program; LabError when it fails, unless check=False."""
    options.setdefault("check", True)
    try:
        return subprocess.run([str(word) for word in cmd], **options)
    except FileNotFoundError as error:
        raise LabError(f"{cmd[0]} is not installed; tests/setup/install-tools.sh lab installs it") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"{' '.join(map(str, cmd))}: exit status {error.returncode}") from error


def out(*cmd, **options):
    return sh(*cmd, stdout=subprocess.PIPE, text=True, **options).stdout


def in_chroot(root, *cmd, quiet=False):
    """Runs a program in a chroot with an environment of its own."""
    options = {"env": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"},
               "stdin": subprocess.DEVNULL}
    if quiet:
        options["stdout"] = options["stderr"] = subprocess.DEVNULL
    return sh("chroot", root, *cmd, **options)


class Timer:
    """Says how long its block took."""

    def __init__(self, what):
        self.what = what

    def __enter__(self):
        self.start = time.monotonic()

    def __exit__(self, *_):
        log(f"{self.what:34} {time.monotonic() - self.start:6.1f} s")


class Mounts:
    """Mounts that are undone in reverse order, whatever happens."""

    def __init__(self):
        self.targets = []

    def __enter__(self):
        return self

    def mount(self, *args):
        sh("mount", *args)
        self.targets.append(args[-1])

    def __exit__(self, *_):
        while self.targets:
            target = self.targets.pop()
            if subprocess.run(["umount", target], check=False).returncode:
                subprocess.run(["umount", "-l", target], check=False)


def digest(*parts):
    """A short key for what something was built from."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part if isinstance(part, bytes) else str(part).encode())
        sha.update(b"\0")
    return sha.hexdigest()[:12]


def tree_digest(directory):
    """The same, of a directory: names, modes, link targets, contents."""
    sha = hashlib.sha256()
    for top, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted(files) + directories:
            path = os.path.join(top, name)
            sha.update(f"{os.path.relpath(path, directory)} {os.lstat(path).st_mode:o}\0".encode())
            if os.path.islink(path):
                sha.update(os.readlink(path).encode())
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    sha.update(hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()[:12]
