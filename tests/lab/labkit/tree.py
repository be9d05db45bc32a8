"""From Debian packages to a tree that ostree can commit: kernel and initramfs below usr, etc in usr/etc."""

import os
import shutil
import subprocess

from .process import CACHE, HERE, LabError, Mounts, Timer, digest, in_chroot, log, out, sh, tree_digest

PACKAGES = """systemd systemd-sysv systemd-container dbus linux-image-cloud-amd64 dracut podman skopeo
crun netavark aardvark-dns ostree ostree-boot docker-registry jq busybox-static e2fsprogs btrfs-progs
xfsprogs iproute2 ca-certificates fsverity erofs-utils attr procps curl uidmap xz-utils zstd openssl
nftables""".split()
# Debian 13's ostree is built without composefs: the second variant takes it from the next suite.
FORKY = "ostree ostree-boot libostree-1-1 composefs libcomposefs1 libgpgme45".split()

ENABLED = {"sysinit.target": ["lab-registry.service"],
           "multi-user.target": ["lab-agent.service", "systemd-networkd.service"],
           "local-fs.target": ["boot.mount"],
           "network-online.target": ["systemd-networkd-wait-online.service"]}
# Would run while a test does, or cost seconds of every emulated boot.
MASKED = """apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
e2scrub_reap.service fstrim.timer docker-registry.service systemd-hwdb-update.service ldconfig.service
systemd-journal-catalog-update.service systemd-update-done.service podman-auto-update.timer
podman-auto-update.service podman-restart.service podman-clean-transient.service getty@tty1.service
serial-getty@hvc0.service systemd-pcrphase.service systemd-network-generator.service""".split()
LINKS = {"home": "var/home", "root": "var/roothome", "opt": "var/opt", "srv": "var/srv", "mnt": "var/mnt",
         "media": "run/media", "ostree": "sysroot/ostree", "usr/local": "../var/usrlocal"}


def apt_mirror():
    """The Debian mirror that this machine's apt is set up with, or LAB_MIRROR."""
    if chosen := os.environ.get("LAB_MIRROR"):
        return chosen
    rows = subprocess.run(["apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages"],
                          stdout=subprocess.PIPE, text=True, check=False).stdout.splitlines()
    for row in rows:
        label, _, uri = row.partition("|")
        if label == "Debian":
            return uri
    raise LabError("apt knows no Debian mirror here: put one into LAB_MIRROR")


def forky_hooks(mirror):
    return [f"--customize-hook=echo deb [check-valid-until=no] {mirror} forky main >"
            ' "$1"/etc/apt/sources.list.d/forky.list',
            "--customize-hook=printf 'Package: *\\nPin: release n=forky\\nPin-Priority: 50\\n'"
            ' > "$1"/etc/apt/preferences.d/forky',
            '--customize-hook=chroot "$1" apt-get -q update',
            '--customize-hook=chroot "$1" apt-get -q install -y --no-install-recommends '
            + " ".join(name + "/forky" for name in FORKY)]


def build_root(flavour):
    """An ordinary Debian root, as a tar and unpacked: the chroot with the tools of the same versions."""
    key = digest("root", flavour, PACKAGES, FORKY)
    tar = f"{CACHE}/root-{flavour}-{key}.tar"
    tools = f"{CACHE}/tools-{flavour}-{key}"
    if not os.path.exists(tar):
        command = ["mmdebstrap", "--quiet", "--variant=minbase", "--include=" + ",".join(PACKAGES)]
        command += [f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "man", "locale", "info")]
        mirror = apt_mirror()
        if flavour == "forky":
            command += forky_hooks(mirror)
        report = f"{CACHE}/root-{flavour}.log"
        with Timer(f"mmdebstrap ({flavour})"), open(report, "w", encoding="utf-8") as file:
            result = sh(*command, "trixie", tar + ".tmp.tar", mirror, stdout=file, stderr=file, check=False)
        if result.returncode:
            raise LabError(f"mmdebstrap failed; its output is in {report}")
        os.rename(tar + ".tmp.tar", tar)
    if not os.path.exists(tools):
        with Timer("unpack tools"):
            unpack(tar, tools + ".tmp")
        with open(tools + ".manifest", "w", encoding="utf-8") as file:
            file.write(out("chroot", tools + ".tmp", "dpkg-query", "-W"))
        os.rename(tools + ".tmp", tools)
    return tar, tools, key


def unpack(tar, directory):
    sh("rm", "-rf", "--one-file-system", directory)
    os.makedirs(directory)
    sh("tar", "-C", directory, "-xf", tar, "--exclude=./dev/*")


def build_tree(flavour):
    """Returns (tree, tools, key); builds what the cache has not."""
    tar, tools, root_key = build_root(flavour)
    guest = os.path.join(HERE, "guest")
    key = digest("tree2", root_key, tree_digest(guest), ENABLED, MASKED, LINKS)
    tree = f"{CACHE}/tree-{flavour}-{key}"
    if not os.path.exists(tree):
        building = tree + ".tmp"
        with Timer("unpack tree"):
            unpack(tar, building)
        sh("cp", "-a", "--no-preserve=ownership", guest + "/.", building)
        add_kernel(building)
        lay_out(building)
        os.rename(building, tree)
    return tree, tools, key


def kernel_version(tree):
    return sorted(os.listdir(tree + "/usr/lib/modules"))[-1]


def add_kernel(tree):
    kernel = kernel_version(tree)
    shutil.copy(f"{tree}/boot/vmlinuz-{kernel}", f"{tree}/usr/lib/modules/{kernel}/vmlinuz")
    with Timer("dracut"), Mounts() as mounts:
        for name in ("proc", "sys", "dev"):
            mounts.mount("--bind", "/" + name, f"{tree}/{name}")
        mounts.mount("-t", "tmpfs", "tmpfs", tree + "/tmp")
        in_chroot(tree, "dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible", "--zstd",
                  "--kver", kernel, "--modules", "base systemd systemd-initrd udev-rules rootfs-block fs-lib "
                  "kernel-modules shutdown ostree", "--drivers", "virtio_blk virtio_pci virtio_console virtio_rng "
                  "ext4 xfs btrfs overlay erofs loop crc32c_generic libcrc32c",
                  f"/usr/lib/modules/{kernel}/initramfs.img", quiet=not os.environ.get("LAB_VERBOSE"))


def lay_out(tree):
    """What ostree wants of a tree: an empty var, links into it, etc in usr/etc."""
    units = tree + "/etc/systemd/system"
    for target, names in ENABLED.items():
        os.makedirs(f"{units}/{target}.wants", exist_ok=True)
        for name in names:
            link(f"/usr/lib/systemd/system/{name}", f"{units}/{target}.wants/{name}")
    for name in MASKED:
        link("/dev/null", f"{units}/{name}")
    write(tree + "/etc/machine-id", "1ab1ab1ab1ab1ab1ab1ab1ab1ab1ab1a\n")
    write(tree + "/etc/hostname", "lab\n")
    # mmdebstrap copies the building machine's.
    link("../run/systemd/resolve/resolv.conf", tree + "/etc/resolv.conf")
    write(tree + "/etc/fstab", "# none: ostree mounts root, boot.mount mounts /boot\n")
    sh("sed", "-i", "s/^root:[^:]*:/root::/", tree + "/etc/shadow")
    top = ("boot", "sysroot", "var", "run", "dev", "proc", "sys", "tmp")
    for name in (*LINKS, *top):
        sh("rm", "-rf", "--one-file-system", f"{tree}/{name}")
    for name, target in LINKS.items():
        os.symlink(target, f"{tree}/{name}")
    for name in top:
        os.mkdir(f"{tree}/{name}")
    os.chmod(tree + "/tmp", 0o1777)
    sh("rm", "-rf", tree + "/etc/apt/sources.list.d")
    os.rename(tree + "/etc", tree + "/usr/etc")
    log("laid out " + os.path.basename(tree))


def link(target, path):
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
