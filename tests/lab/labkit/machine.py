"""One boot: what goes in, QEMU, the power cut, what comes out."""

import io
import json
import os
import re
import resource
import subprocess
import tarfile
import time
import uuid
from dataclasses import dataclass, field

from . import image, state
from .process import STATE, LabError, log, sh

MEMORY = 2048
INPUT = 256 << 20


@dataclass
class Wanted:
    """What a boot is asked to do."""

    script: str
    after_soft_reboot: str | None = None
    inputs: list = field(default_factory=list)
    end: str = "poweroff"
    suspend: str | None = None
    timeout: float = 300
    arguments: list = field(default_factory=list)
    entry: int = 0
    image: str | None = None
    discard: bool = False
    cut_at: str | None = None
    cut_after: float = 0
    quiet: bool = False


def boot(wanted):
    """Returns (exit status for the harness, one line for people)."""
    number = len(os.listdir(STATE + "/boots"))
    place = f"{STATE}/boots/{number}"
    os.makedirs(place + "/out")
    start = time.monotonic()
    if wanted.image:
        log(f"boot {number}: {wanted.image}, without a network device")
        image.kernel(place)
        arguments, disks, memory = image.arguments(wanted.image), [("root", wanted.image, "raw", True)], None
    else:
        arguments, disks, memory = ostree_host(wanted, number, place)
    pack(wanted, place + "/in.tar")
    command = machine(place, " ".join([arguments, *wanted.arguments]), disks, wanted.discard)
    if not wanted.image:
        command += ["-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile="]
    if memory:
        command += ["-incoming", f"exec:exec cat '{memory}'"]
    ended = run(command, wanted.timeout, cutter(wanted, place), switched_off(wanted, place), suspender(wanted, place))
    if os.path.getsize(place + "/tar") if os.path.exists(place + "/tar") else 0:
        subprocess.run(["tar", "-C", place + "/out", "-xf", place + "/tar"], stderr=subprocess.DEVNULL, check=False)
    for name in ("in.tar", "linux", "initrd", "tar"):
        if os.path.exists(f"{place}/{name}"):
            os.unlink(f"{place}/{name}")
    if not wanted.quiet:
        print(read(place + "/log"), end="", flush=True)
    return verdict(wanted, place, number, ended, time.monotonic() - start)


def ostree_host(wanted, number, place):
    """Kernel and initramfs of the boot loader entry go into `place`: (arguments, disks, memory to go on with)."""
    choices = state.entries()
    if wanted.entry >= len(choices):
        raise LabError(f"no entry {wanted.entry}: the boot disk has {len(choices)}")
    entry = choices[wanted.entry]
    log(f"boot {number}: {entry.get('title', '?')}")
    state.dump(entry["linux"], place + "/linux")
    state.dump(entry["initrd"], place + "/initrd")
    disks = [("root", state.ROOT_DISK, "qcow2", True), ("boot", state.BOOT_DISK, "raw", False)]
    return entry["options"], disks, state.take_memory(resumes=wanted.entry == 0)


def pack(wanted, path):
    """The scripts, their files and how to end, on a bare tar that the guest reads as a disk.

    Its first block differs from boot to boot, by which a machine that was suspended sees that there is a new one, and its
    size does not. It cannot be given kernel arguments, so they are in there, too."""

    def executable(member):
        member.mode = 0o755
        return member

    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(f"boot-{uuid.uuid4()}"))
        tar.add(wanted.script, "run", filter=executable)
        if wanted.after_soft_reboot:
            tar.add(wanted.after_soft_reboot, "run.1", filter=executable)
        for item in wanted.inputs:
            source, _, name = item.partition("=")
            tar.add(source, name or os.path.basename(source.rstrip("/")))
        end = "soft-reboot" if wanted.after_soft_reboot else "suspend" if wanted.suspend else wanted.end
        for name, text in (("end", end), ("arguments", " ".join(wanted.arguments))):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    if os.path.getsize(path) > INPUT:
        raise LabError(f"the script and what is beside it are larger than {INPUT >> 20} MB")
    sh("truncate", "-s", INPUT, path)


def disk(name, path, kind, options=""):
    return ["-drive", f"if=none,id={name},format={kind},file={path}{options}",
            "-device", f"virtio-blk-pci,drive={name},serial=lab{name}"]


def machine(place, arguments, disks, discard):
    """The QEMU command. Emulated unless LAB_ACCEL=kvm: the same everywhere, and nested machines often have no KVM."""
    kvm = os.environ.get("LAB_ACCEL") == "kvm"
    written = ",cache=unsafe" + (",snapshot=on" if discard else "")
    attached = [word for name, path, kind, trims in disks
                for word in disk(name, path, kind, written + (",discard=unmap" if trims else ""))]
    command = ["qemu-system-x86_64", "-accel", "kvm" if kvm else "tcg,thread=multi,tb-size=512",
               "-cpu", "host" if kvm else "Nehalem", "-machine", "q35,hpet=off", "-m", str(MEMORY), "-smp", "2",
               "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
               "-kernel", place + "/linux", "-initrd", place + "/initrd", "-append", arguments,
               *attached,
               *disk("in", place + "/in.tar", "raw", ",readonly=on"),
               "-device", "virtio-rng-pci", "-device", "virtio-serial-pci", "-qmp", "stdio"]
    for name, file in (("con", "console.log"), ("jnl", "journal.log")):
        command += ["-chardev", f"file,id={name},path={place}/{file}", "-device", f"virtconsole,chardev={name}"]
    for name in ("log", "ctl", "tar"):
        command += ["-chardev", f"file,id={name},path={place}/{name}",
                    "-device", f"virtserialport,chardev={name},name=lab.{name}"]
    return command


def cutter(wanted, place):
    """Says when the power goes: `cut_after` seconds after the text appeared in script output or journal."""
    if wanted.cut_at is None:
        return lambda: False
    seen = None

    def due():
        nonlocal seen
        if seen is None and any(wanted.cut_at in read(f"{place}/{name}") for name in ("log", "journal.log")):
            seen = time.monotonic()
        return seen is not None and time.monotonic() >= seen + wanted.cut_after

    return due


def switched_off(wanted, place):
    """Says when a machine whose shutdown nobody wants to see has done what it was there for."""
    return lambda: wanted.end == "off" and not wanted.suspend and re.search(r"^rc=\d+$", read(place + "/ctl"), re.MULTILINE)


def suspender(wanted, place):
    """Says when the machine is to be suspended, and where to: the script has passed."""
    if wanted.suspend is None:
        return lambda: None
    return lambda: state.SUSPENDED if "rc=0\n" in read(place + "/ctl") else None


def run(command, limit, due, done, memory):
    """Runs QEMU for at most `limit` seconds; returns how it ended."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    end = time.monotonic() + limit
    try:
        ask(process, "qmp_capabilities")
        if "-incoming" in command:
            go_on(process)
        while True:
            try:
                return f"exit {process.wait(timeout=0.1)}"
            except subprocess.TimeoutExpired:
                pass
            if due():
                return "power cut"
            if done():
                return "switched off"
            if path := memory():
                suspend(process, path)
                return "suspended"
            if time.monotonic() > end:
                return "timeout"
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ask(process, command, **arguments):
    """One command to QEMU and its answer; events are passed over."""
    try:
        process.stdin.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError as error:
        raise LabError(f"QEMU ended before {command}") from error
    for line in process.stdout:
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"QEMU: {command}: {answer['error']}")
        if "return" in answer:
            return answer["return"]
    raise LabError(f"QEMU ended during {command}")


def suspend(process, path):
    """Stops the machine and writes its memory into a file."""
    ask(process, "stop")
    # Not throttled: nothing else runs in it.
    ask(process, "migrate-set-parameters", **{"max-bandwidth": 1 << 40})
    ask(process, "migrate", uri=f"exec:exec cat >'{path}'")
    while (status := ask(process, "query-migrate")["status"]) != "completed":
        if status in ("failed", "cancelled"):
            raise LabError(f"the machine could not be suspended: {status}")
        time.sleep(0.1)
    ask(process, "quit")
    process.wait()


def go_on(process):
    """Lets the machine run whose memory was read: it was stopped when it was written."""
    while ask(process, "query-status")["status"] == "inmigrate":
        time.sleep(0.1)
    ask(process, "cont")


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def verdict(wanted, place, number, ended, seconds):
    control = read(place + "/ctl")
    status = re.search(r"^rc=(\d+)$", control, re.MULTILINE)
    result = {"boot": number, "qemu": ended, "rc": status and int(status.group(1)), "seconds": round(seconds, 1)}
    with open(place + "/result.json", "w", encoding="utf-8") as file:
        json.dump(result, file)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The latter says more on a computer that does other things as well.
    tail = f"boot {number}, {seconds:.1f} s, {used.ru_utime + used.ru_stime:.0f} s of CPU; files in {os.path.relpath(place)}"
    if ended == "power cut":
        return 0, f"PASS power cut at {wanted.cut_at!r}, {tail}"
    if wanted.cut_at is not None:
        return 2, f"FAIL nothing said {wanted.cut_at!r} ({ended}), {tail}"
    if status is None:
        return 2, f"FAIL no exit status from the guest ({ended}), {tail}"
    if int(status.group(1)):
        return 1, f"FAIL the script ended with {status.group(1)} ({ended}), {tail}"
    if wanted.suspend and ended == "suspended":
        state.save(wanted.suspend, state.SUSPENDED)
        return 0, f"PASS suspended as {wanted.suspend}, {tail}"
    if ended not in ("exit 0", "switched off"):
        return 2, f"FAIL the script passed, the machine did not end by itself ({ended}), {tail}"
    return 0, f"PASS {tail}"
