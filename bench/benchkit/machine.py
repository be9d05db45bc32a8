"""What the figures were measured on, and whether it had nothing else to do."""

import os
import platform
import shutil
import subprocess
import time

from .measure import run


def describe(path):
    """Cores, memory, kernel, file system and disk of `path`, release, commit."""
    return {"processor": processor(), "cores": os.cpu_count(), "memory": memory(), "kernel": platform.release(),
            "system": release(), "disk": disk(path), "commit": commit(), "date": time.strftime("%Y-%m-%d", time.gmtime())}


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())


def memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def release():
    with open("/etc/os-release", encoding="utf-8") as file:
        return next((line.partition("=")[2].strip().strip('"') for line in file if line.startswith("PRETTY_NAME=")), "Linux")


def disk(path):
    """The file system, and the speed of a write that is synced: what limits all sides alike."""
    kind, source = run(["stat", "-f", "-c", "%T", path]).strip(), run(["df", "--output=source", path]).split()[-1]
    probe, size = os.path.join(path, "probe"), 256 << 20
    block = os.urandom(1 << 20)
    began = time.perf_counter()
    with open(probe, "wb") as file:
        for _ in range(size >> 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    rate = size / (time.perf_counter() - began)
    os.unlink(probe)
    return {"file_system": kind, "device": source, "write_bytes_per_second": round(rate)}


def commit():
    """The commit, with a + when files were changed since."""
    if not shutil.which("git"):
        return None
    done = subprocess.run(["git", "describe", "--always", "--dirty=+", "--exclude=*"], capture_output=True, text=True,
                          cwd=os.path.dirname(os.path.abspath(__file__)), check=False)
    return done.stdout.strip() or None


def load():
    """Processes that wanted to run, on average of the last minute."""
    return os.getloadavg()[0]


def busy_others():
    """The share of all cores that others take now, looked at for two seconds in which we do nothing."""
    def idle_and_all():
        with open("/proc/stat", encoding="ascii") as file:
            values = list(map(int, file.readline().split()[1:9]))
        return values[3] + values[4], sum(values)
    idle, total = idle_and_all()
    time.sleep(2)
    idle_now, total_now = idle_and_all()
    return 1 - (idle_now - idle) / max(1, total_now - total)
