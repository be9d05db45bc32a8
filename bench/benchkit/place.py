"""Where runs write: one directory on one file system, which is cleared between runs, outside of the clock."""

import os

from .measure import run, sync


class Place:
    """`target/bench/work`: everything a run makes."""

    def __init__(self, path):
        self.path = path
        self.clear()

    def clear(self):
        self.remove("")
        os.makedirs(self.path)

    def at(self, *names):
        """A path of this name, whose parents are there."""
        path = os.path.join(self.path, *names)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def fresh(self, name):
        """A path of this name with nothing at it."""
        self.remove(name)
        return self.at(name)

    def remove(self, name):
        """containers/storage leaves mounts in stores; they lie in the namespace of the benchmark, in a
        chroot maybe."""
        path = os.path.join(self.path, name) if name else self.path
        ends = [path] + [os.path.join(top, name).rstrip("/") for top in views(self.path)]
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split()[4] for line in file]
        for mount in reversed(mounts):
            if any(mount.startswith(end + "/") for end in ends):
                run(["umount", "-l", mount])
        if os.path.lexists(path):
            run(["rm", "-rf", "--one-file-system", path])

    def cold(self):
        """Nothing is waiting to be written, and nothing is in the page cache."""
        sync(self.path)
        run(["sync"])
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write("3")


def short(path):
    """The same directory by a short name, in the namespace of the benchmark: Podman takes no runroot of more than 50
    characters, wherever these sources are."""
    name = "/dev/shm/bench"
    for directory in (path, name):
        os.makedirs(directory, exist_ok=True)
    run(["mount", "--bind", path, name])
    return name


VIEWS = {}


def views(path):
    """Where else `path` can be seen: in chroots."""
    return VIEWS.setdefault(path, [])
