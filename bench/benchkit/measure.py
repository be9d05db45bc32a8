"""Runs commands and says what they cost: wall time, CPU seconds and peak memory of all their processes.

Each sample has a version 2 control group of its own (a version 1 machine has that hierarchy beside its
own), which counts the CPU time of all processes in it, also of those that nobody waited for. Memory is looked at
every 20 ms:
  tree  the proportional set size (PSS: shared pages are divided among those that share them) of all
        processes of the group, summed up whenever their resident sets together are larger than ever before.
        Reading PSS is dear, resident sets are not.
  own   VmHWM of the process that was started, which the kernel keeps: its largest resident set.
What lives less than two looks (40 ms) has no figures of memory.

The measuring process is not in the group: it moves in to start a command, so that the command is born there, and out again.
"""

import contextlib
import ctypes
import os
import resource  # os.wait4 wants it, and could not find it any more after chroot  # noqa: F401
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from statistics import median

INTERVAL = 0.02
PAGE = os.sysconf("SC_PAGE_SIZE")
LIBC = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A command that is measured, or that prepares something to measure, did not succeed."""


@dataclass
class Sample:
    """What one run cost: seconds and bytes; None where it was not measured."""
    wall: float
    cpu: float | None
    tree: int | None = None
    own: int | None = None


class Group:
    """A control group that lives as long as one sample."""
    count = 0

    def __init__(self):
        Group.count += 1
        self.path = os.path.join(hierarchy(), f"bound-images-bench-{os.getpid()}-{Group.count}")
        self.home = os.path.join(hierarchy(), own_group())

    def __enter__(self):
        os.mkdir(self.path)
        return self

    def __exit__(self, *_):
        # The last process of a tree may still be on its way out.
        for _ in range(500):
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
                return
            time.sleep(0.01)
        raise Failed(f"processes are left in {self.path}: {self.processes()}")

    def enter(self, which):
        with open(os.path.join(which, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(os.getpid()))

    def start(self, command, **options):
        self.enter(self.path)
        try:
            # close_fds=False lets Python start it with vfork, in a fraction of the time.
            return subprocess.Popen(command, close_fds=False, **options)
        finally:
            self.enter(self.home)

    def processes(self):
        with open(os.path.join(self.path, "cgroup.procs"), encoding="ascii") as file:
            return [int(line) for line in file]

    def cpu(self):
        with open(os.path.join(self.path, "cpu.stat"), encoding="ascii") as file:
            return dict(line.split() for line in file)["usage_usec"]


def hierarchy():
    for path in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if os.path.exists(os.path.join(path, "cgroup.procs")) and os.path.exists(os.path.join(path, "cgroup.controllers")):
            return path
    raise Failed("needs a version 2 control group hierarchy (/sys/fs/cgroup or /sys/fs/cgroup/unified)")


def own_group():
    with open("/proc/self/cgroup", encoding="ascii") as file:
        return next(line.strip()[4:] for line in file if line.startswith("0::/"))


class Watch(threading.Thread):
    """Looks at the memory of a group until it is told to stop."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group, self.over = group, threading.Event()
        self.resident, self.tree, self.own, self.looks = 0, 0, {}, 0
        self.main = None

    def run(self):
        while not self.over.wait(INTERVAL):
            processes = self.group.processes()
            resident = sum(map(resident_of, processes))
            self.looks += bool(processes)
            if resident > self.resident:
                self.resident = resident
                self.tree = max(self.tree, sum(field(pid, "smaps_rollup", "Pss:") for pid in processes))
            if self.main:
                self.own[self.main] = max(self.own.get(self.main, 0), field(self.main, "status", "VmHWM:"))

    def stop(self):
        self.over.set()
        self.join()
        seen = self.looks >= 2 and self.tree
        return (self.tree, max(self.own.values(), default=0) or None) if seen else (None, None)


def resident_of(pid):
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0  # it has ended


def field(pid, file, key):
    """A value in kB of a file of /proc, as bytes; 0 once the process has ended."""
    try:
        with open(f"/proc/{pid}/{file}", encoding="ascii", errors="replace") as text:
            return next((int(line.split()[1]) * 1024 for line in text if line.startswith(key)), 0)
    except OSError:
        return 0


def sync(path):
    """All that was written to the file system of `path` is on its disk."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if LIBC.syncfs(directory) != 0:
            raise Failed(f"syncfs {path}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(directory)


def measure(commands, env=None, synced=None):
    """Runs commands one after the other as one sample. `synced`: a directory whose file system is
    synced before the clock stops. Fails when one of them does."""
    with Group() as group, tempfile.TemporaryFile() as output:
        watch = Watch(group)
        watch.start()
        began = time.perf_counter()
        for command in commands:
            process = group.start(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            watch.main = process.pid
            code = process.wait()
            watch.main = None
            if code != 0:
                watch.stop()
                raise Failed(f"{' '.join(command)}: exit {code}\n{tail(output)}")
        if synced:
            sync(synced)
        wall = time.perf_counter() - began
        tree, own = watch.stop()
        return Sample(wall, int(group.cpu()) / 1e6, tree, own)


def measure_short(command, times, env, emptied=()):
    """A command that takes milliseconds, many times, each with these directories empty: the median of its wall times, the mean of its CPU
    times and of those that it waited for (wait4(2); a group would count what starts it as well). Nobody looks at
    its memory meanwhile."""
    nothing = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(3)]
    walls, cpu = [], 0.0
    for _ in range(times):
        for directory in emptied:
            empty(directory)
        began = time.perf_counter()
        process = os.posix_spawnp(command[0], command, env, file_actions=nothing)
        _, status, usage = os.wait4(process, 0)
        walls.append(time.perf_counter() - began)
        if (code := os.waitstatus_to_exitcode(status)) != 0:
            raise Failed(f"{' '.join(command)}: exit {code}")
        cpu += usage.ru_utime + usage.ru_stime
    return Sample(median(walls), cpu / times)


def empty(directory):
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def measure_short_inside(root, command, times, env, emptied=()):
    """As `measure_short`, of a command that finds `root` as its `/`: a process of ours goes there and measures, so that no
    `chroot` is counted."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        code = 1
        try:
            os.chroot(root)
            os.chdir("/")
            sample = measure_short(command, times, env, emptied)
            os.write(writer, f"{sample.wall!r} {sample.cpu!r}".encode())
            code = 0
        except Exception as error:  # all of them belong to the parent
            os.write(writer, f"failed {error!r}".encode()[:4096])
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as answer:
        text = answer.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise Failed(f"in {root}: {text.removeprefix('failed ')}")
    wall, cpu = map(float, text.split())
    return Sample(wall, cpu)


def run(command, env=None, cwd=None):
    """Prepares something; not measured. Its standard output."""
    done = subprocess.run(command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")[-2000:]
        raise Failed(f"{' '.join(command)}: exit {done.returncode}\n{said}")
    return done.stdout.decode()


def tail(file):
    file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
    return file.read().decode(errors="replace")
