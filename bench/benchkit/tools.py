"""podman, skopeo and bound-images: those of this machine, or of a newer Debian in a chroot."""

import os
import re
import shutil

from .measure import run
from .place import views


class Tools:
    """Commands of one set of tools. `inside` is how they see a path of the place."""

    def __init__(self, place, programs, name="", prefix=(), top=None):
        self.place, self.name, self.prefix, self.top = place, name, list(prefix), top or place.path
        for program in ("bound-images", "bound-images-generator", "bound-images-hook"):
            shutil.copy2(os.path.join(programs, program), place.at("bin", program))
        self.env = {"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8",
                    "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        os.makedirs(place.at("tmp"), exist_ok=True)
        self.env["TMPDIR"] = self.inside(place.at("tmp"))
        conf = place.at("storage.conf")
        with open(conf, "w", encoding="utf-8") as file:
            file.write('[storage]\ndriver = "overlay"\nrunroot = "/run/bound-images-bench"\ngraphroot = "/var/empty/bound-images-bench"\n')
        self.env["CONTAINERS_STORAGE_CONF"] = self.inside(conf)

    def insecure(self, addresses):
        """Registries that speak plain HTTP."""
        conf = self.place.at("registries.conf")
        with open(conf, "w", encoding="utf-8") as file:
            for address in addresses:
                file.write(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        self.env["CONTAINERS_REGISTRIES_CONF"] = self.inside(conf)

    def inside(self, path):
        return self.top + path.removeprefix(self.place.path)

    def podman(self, store, *words):
        return [*self.prefix, "podman", "--root", self.inside(store) + "/root", "--runroot", self.inside(store) + "/run",
                "--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file", *words]

    def storage(self, store, name):
        """An image in a store, as skopeo names it."""
        return f"containers-storage:[overlay@{self.inside(store)}/root+{self.inside(store)}/run]{name}"

    def skopeo(self, *words):
        return [*self.prefix, "skopeo", *words]

    def ours(self, *words):
        return [*self.prefix, self.inside(self.place.at("bin", "bound-images")), *words]

    def versions(self):
        return {"podman": version(run([*self.prefix, "podman", "--version"])),
                "skopeo": version(run([*self.prefix, "skopeo", "--version"])),
                "bound-images": version(run(self.ours("--version")))}


def version(text):
    found = re.search(r"\d+(\.\d+)+", text)
    return found.group() if found else text.strip()


def chroot_tools(place, programs, chroot, name):
    """The tools of a chroot, which is not written to: an overlay on it, in memory. All that is mounted is in
    the namespace of the benchmark, and gone with it. containers/storage wants its root to be a mount point;
    Podman's locks are in /dev/shm."""
    top = place.path + ".newer"
    os.makedirs(top, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", top])
    for directory in ("upper", "work", "root"):
        os.mkdir(os.path.join(top, directory))
    root = top + "/root"
    run(["mount", "-t", "overlay", "-o", f"lowerdir={chroot},upperdir={top}/upper,workdir={top}/work", "overlay", root])
    mounts = (("-t", "proc", "proc", "/proc"), ("--rbind", "/dev", "/dev"), ("-t", "tmpfs", "tmpfs", "/dev/shm"),
              ("-t", "tmpfs", "tmpfs", "/run"), ("-t", "tmpfs", "tmpfs", "/tmp"), ("--bind", place.path, "/mnt"))
    for *words, at in mounts:
        run(["mount", *words, root + at])
    views(place.path).append(root + "/mnt")
    return Tools(place, programs, name, ["chroot", root], "/mnt")
