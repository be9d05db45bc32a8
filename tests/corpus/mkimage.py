#!/usr/bin/env python3
"""Pack directories or lists of files into images in an OCI layout, the same bytes every time.

The test corpus and the demo are made with this, so that their images do not come from the code
under test. Standard library only; zstd layers need the `zstd` program.

  mkimage.py layer DIR SRC[=gzip|zstd|none]         write one layer blob, print its descriptor
  mkimage.py image DIR --layer SRC [--layer ...]    write an image, print what was written
  mkimage.py list  DIR --ref NAME DIGEST...         write a manifest list over images of DIR

DIR is the layout; it is made when absent. SRC is one of
  a directory     taken as it is: owners, modes, hard links, xattrs, device nodes. The upper directory of
                  an overlay mount gives a diff: char 0:0 becomes `.wh.NAME`, an opaque
                  directory gets `.wh..wh..opq`.
  FILE.json       a list of entries, in this order, as written: {"path": "a/b", "type": "file|dir|
                  symlink|hardlink|char|block|fifo|whiteout|opaque", "mode": "0755", "uid": 0, "gid": 0,
                  "mtime": 0, "link": "target", "dev": [5, 1], "content": "text", "base64": "...",
                  "from": "FILE on disk", "zeros": BYTES, "xattrs": {"user.a": "text", "security.b": "base64:..."}}
  {...}           a descriptor that `layer` printed: the blob is already in DIR.

Each layer is streamed: tar -> SHA-256 (the diff id) -> compressor -> SHA-256 (the digest) -> file.
Times are cut at --clamp (default: SOURCE_DATE_EPOCH, else 1700000000); gzip carries no time.
"""

import argparse
import base64
import gzip
import hashlib
import json
import os
import stat
import subprocess
import sys
import tarfile

# (OCI, Docker schema 2) for each kind of document.
MANIFEST = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
LIST = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
CONFIG = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
LAYER = ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar")
SUFFIX = {"gzip": ("+gzip", ".gzip"), "zstd": ("+zstd", ".zstd"), "none": ("", "")}
REF_NAME = "org.opencontainers.image.ref.name"
TYPES = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE,
         "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE}


class HashingFile:
    """Counts and hashes what is written through it."""

    def __init__(self, out):
        self.out, self.sha, self.size = out, hashlib.sha256(), 0

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)
        return self.out.write(data)

    def flush(self):
        self.out.flush()

    @property
    def digest(self):
        return "sha256:" + self.sha.hexdigest()


# --- tar ---------------------------------------------------------------------------------------

def pax_record(key, value):
    """`LENGTH key=value\\n`, where LENGTH counts itself (POSIX pax interchange format)."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + len(str(len(body)))
    length += len(str(length)) - len(str(len(body)))
    return str(length).encode() + body


def write_member(out, member, xattrs, content):
    """One entry: a pax header for what USTAR cannot say, the USTAR header, the content."""
    pax = [(b"SCHILY.xattr." + os.fsencode(k), v) for k, v in sorted(xattrs.items())]
    for field, key in (("name", b"path"), ("linkname", b"linkpath")):
        raw = os.fsencode(getattr(member, field))
        if len(raw) > 100 - (field == "name" and member.isdir()) or not raw.isascii():
            pax.append((key, raw))
            setattr(member, field, raw[:96].decode("ascii", "replace").replace("\ufffd", "_"))
    if member.size >= 8 ** 11:
        pax.append((b"size", str(member.size).encode()))
    if pax:
        body = b"".join(pax_record(k, v) for k, v in pax)
        header = tarfile.TarInfo("PaxHeaders/" + member.name[:80])
        header.type, header.size, header.mode = tarfile.XHDTYPE, len(body), 0o644
        out.write(header.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape"))
        out.write(body + b"\0" * (-len(body) % 512))
    out.write(member.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape"))
    written = 0
    for block in content:
        out.write(block)
        written += len(block)
    if written != member.size:
        raise SystemExit(f"mkimage: {member.name} changed while it was read")
    out.write(b"\0" * (-written % 512))


def blocks_of(path):
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            yield block


def zeros(size):
    for at in range(0, size, 1 << 20):
        yield b"\0" * min(1 << 20, size - at)


def member_of(name, kind, mode, uid, gid, mtime):
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.uid, member.gid, member.mtime = kind, mode, uid, gid, mtime
    return member


def xattrs_of(path):
    """The xattrs a layer carries; `overlay` tells of trusted.overlay.*, which it does not."""
    kept, overlay = {}, {}
    for key in os.listxattr(path, follow_symlinks=False):
        value = os.getxattr(path, key, follow_symlinks=False)
        if key.startswith("trusted.overlay."):
            overlay[key[16:]] = value
        elif not key.startswith(("trusted.", "system.", "security.selinux", "security.ima", "security.evm")):
            kept[key] = value
    if "redirect" in overlay or "metacopy" in overlay:
        raise SystemExit(f"mkimage: {path}: mount the overlay with redirect_dir=off,metacopy=off")
    return kept, overlay


def tar_directory(out, top, clamp):
    """Every path below `top`, sorted by bytes, parents first."""
    seen = {}

    def walk(prefix):
        for name in sorted(os.listdir(os.path.join(top, prefix)), key=os.fsencode):
            rel = os.path.join(prefix, name)
            path = os.path.join(top, rel)
            st = os.lstat(path)
            mode, mtime = stat.S_IMODE(st.st_mode), min(int(st.st_mtime), clamp)
            if stat.S_ISSOCK(st.st_mode):
                continue
            if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0:
                hidden = os.path.join(prefix, ".wh." + name)
                write_member(out, member_of(hidden, tarfile.REGTYPE, 0o644, 0, 0, 0), {}, ())
                continue
            member = member_of(rel, tarfile.REGTYPE, mode, st.st_uid, st.st_gid, mtime)
            xattrs, overlay = xattrs_of(path)
            content = ()
            if stat.S_ISDIR(st.st_mode):
                member.type = tarfile.DIRTYPE
            elif (st.st_dev, st.st_ino) in seen:
                member.type, member.linkname, xattrs = tarfile.LNKTYPE, seen[st.st_dev, st.st_ino], {}
            elif stat.S_ISLNK(st.st_mode):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
            elif stat.S_ISFIFO(st.st_mode):
                member.type = tarfile.FIFOTYPE
            elif stat.S_ISREG(st.st_mode):
                member.size, content = st.st_size, blocks_of(path)
            else:
                member.type = tarfile.CHRTYPE if stat.S_ISCHR(st.st_mode) else tarfile.BLKTYPE
                member.devmajor, member.devminor = os.major(st.st_rdev), os.minor(st.st_rdev)
            if st.st_nlink > 1 and not stat.S_ISDIR(st.st_mode):
                seen.setdefault((st.st_dev, st.st_ino), rel)
            write_member(out, member, xattrs, content)
            if stat.S_ISDIR(st.st_mode):
                if overlay.get("opaque") == b"y":
                    hidden = os.path.join(rel, ".wh..wh..opq")
                    write_member(out, member_of(hidden, tarfile.REGTYPE, 0o644, 0, 0, 0), {}, ())
                walk(rel)

    walk("")


def tar_list(out, file, clamp):
    """The entries of a JSON list, in its order: nothing is sorted, added or checked."""
    with open(file, encoding="utf-8") as text:
        entries = json.load(text)
    for entry in entries:
        name, kind = entry["path"], entry.get("type", "file")
        if kind == "whiteout":
            name, kind = os.path.join(os.path.dirname(name), ".wh." + os.path.basename(name)), "file"
        elif kind == "opaque":
            name, kind = os.path.join(name, ".wh..wh..opq"), "file"
        mode = int(entry.get("mode", "0755" if kind == "dir" else "0644"), 8)
        mtime = min(int(entry.get("mtime", clamp)), clamp)
        member = member_of(name, TYPES[kind], mode, entry.get("uid", 0), entry.get("gid", 0), mtime)
        member.linkname = entry.get("link", "")
        member.devmajor, member.devminor = entry.get("dev", (0, 0))
        if "from" in entry:
            source = os.path.join(os.path.dirname(file), entry["from"])
            member.size, content = os.stat(source).st_size, blocks_of(source)
        elif "zeros" in entry:
            member.size, content = entry["zeros"], zeros(entry["zeros"])
        else:
            data = base64.b64decode(entry["base64"]) if "base64" in entry else entry.get("content", "").encode()
            member.size, content = len(data), (data,)
        xattrs = {k: base64.b64decode(v[7:]) if v.startswith("base64:") else v.encode()
                  for k, v in entry.get("xattrs", {}).items()}
        write_member(out, member, xattrs, content)


# --- layout ------------------------------------------------------------------------------------

def open_layout(layout):
    os.makedirs(os.path.join(layout, "blobs", "sha256"), exist_ok=True)
    with open(os.path.join(layout, "oci-layout"), "w", encoding="ascii") as file:
        file.write('{"imageLayoutVersion":"1.0.0"}')


def blob_path(layout, digest):
    return os.path.join(layout, "blobs", *digest.split(":"))


def write_json(layout, value, indent):
    """A document as a blob: keys in the order given; --indent gives bytes that no re-marshalling keeps."""
    data = json.dumps(value, indent=indent, separators=None if indent else (",", ":")).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with open(blob_path(layout, digest), "wb") as file:
        file.write(data)
    return digest, len(data)


def read_json(layout, digest):
    with open(blob_path(layout, digest), "rb") as file:
        return json.load(file)


def write_layer(layout, source, clamp):
    path, _, compression = source.partition("=") if not os.path.exists(source) else (source, "", "")
    compression = compression or "gzip"
    if compression not in SUFFIX or not os.path.exists(path):
        raise SystemExit(f"mkimage: {source}: not a directory or FILE.json, with =gzip, =zstd or =none")
    temporary = os.path.join(layout, "blobs", f".layer-{os.getpid()}")
    with open(temporary, "wb") as file:
        blob = HashingFile(file)
        child = None
        if compression == "gzip":
            packer = gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=blob, mtime=0)
        elif compression == "zstd":
            child = subprocess.Popen(["zstd", "-q", "-6", "-T1", "-c"], stdin=subprocess.PIPE, stdout=file)
            packer = child.stdin
        else:
            packer = blob
        tar = HashingFile(packer)
        (tar_directory if os.path.isdir(path) else tar_list)(tar, path, clamp)
        tar.write(b"\0" * 1024)
        if compression != "none":
            packer.close()
        if child and child.wait() != 0:
            raise SystemExit("mkimage: zstd failed")
    digest, size = blob.digest, blob.size
    if child:
        sha = hashlib.sha256()
        for block in blocks_of(temporary):
            sha.update(block)
        digest, size = "sha256:" + sha.hexdigest(), os.path.getsize(temporary)
    os.rename(temporary, blob_path(layout, digest))
    return {"digest": digest, "size": size, "compression": compression, "diff_id": tar.digest, "tar_size": tar.size}


def merge(into, extra):
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def write_index(layout, ref, media_type, digest, size):
    """Puts the document into index.json under `ref`, in place of what had that name."""
    path = os.path.join(layout, "index.json")
    index = {"schemaVersion": 2, "mediaType": LIST[0], "manifests": []}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            index = json.load(file)
    entries = [e for e in index["manifests"] if e.get("annotations", {}).get(REF_NAME) != ref]
    entries.append({"mediaType": media_type, "digest": digest, "size": size, "annotations": {REF_NAME: ref}})
    index["manifests"] = sorted(entries, key=lambda e: e.get("annotations", {}).get(REF_NAME, ""))
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(index, file, indent=2)
    os.rename(path + ".tmp", path)


def platform_of(text):
    parts = text.split("/")
    return dict(zip(("os", "architecture", "variant"), parts))


def host_platform():
    machine = os.uname().machine
    return "linux/" + {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def make_image(args):
    docker = args.format == "docker"
    layers = []
    for source in args.layer:
        layer = json.loads(source) if source.startswith("{") else write_layer(args.layout, source, args.clamp)
        layers.append(layer)
    created = "2023-11-14T22:13:20Z"
    config = {"created": created, **platform_of(args.platform), "config": {},
              "rootfs": {"type": "layers", "diff_ids": [l["diff_id"] for l in layers]},
              "history": [{"created": created, "created_by": "mkimage"} for _ in layers]}
    if args.cmd:
        config["config"]["Cmd"] = args.cmd
    merge(config, json.loads(args.config))
    config_digest, config_size = write_json(args.layout, config, args.indent)
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST[docker],
        "config": {"mediaType": CONFIG[docker], "digest": config_digest, "size": config_size},
        "layers": [{"mediaType": LAYER[docker] + SUFFIX[l["compression"]][docker],
                    "digest": l["digest"], "size": l["size"]} for l in layers]}
    merge(manifest, json.loads(args.manifest))
    digest, size = write_json(args.layout, manifest, args.indent)
    if args.ref:
        write_index(args.layout, args.ref, MANIFEST[docker], digest, size)
    return {"name": args.ref, "manifest": digest, "config": config_digest, "platform": args.platform,
            "diff_ids": [l["diff_id"] for l in layers], "layers": [l["digest"] for l in layers],
            "size": sum(l["size"] for l in layers)}


def make_list(args):
    docker = args.format == "docker"
    entries = []
    for digest in args.digest:
        manifest = read_json(args.layout, digest)
        entry = {"mediaType": manifest.get("mediaType", MANIFEST[docker]), "digest": digest,
                 "size": os.path.getsize(blob_path(args.layout, digest))}
        if "config" in manifest:  # a nested list has no platform
            config = read_json(args.layout, manifest["config"]["digest"])
            entry["platform"] = {k: config[k] for k in ("architecture", "os", "variant") if k in config}
        entries.append(entry)
    value = {"schemaVersion": 2, "mediaType": LIST[docker], "manifests": entries}
    merge(value, json.loads(args.manifest))
    digest, size = write_json(args.layout, value, args.indent)
    if args.ref:
        write_index(args.layout, args.ref, LIST[docker], digest, size)
    return {"name": args.ref, "list": digest, "manifests": args.digest}


def parser():
    top = argparse.ArgumentParser(prog="mkimage.py", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = top.add_subparsers(dest="command", required=True)
    clamp = int(os.environ.get("SOURCE_DATE_EPOCH", "1700000000"))
    layer, image, many = (sub.add_parser(name) for name in ("layer", "image", "list"))
    for command in (layer, image, many):
        command.add_argument("layout", metavar="DIR", help="the OCI layout")
    for command in (layer, image):
        command.add_argument("--clamp", type=int, default=clamp, help="no time is later than this (seconds)")
    for command in (image, many):
        command.add_argument("--ref", help=f"its name in index.json ({REF_NAME}); without, it is only a blob")
        command.add_argument("--format", choices=("oci", "docker"), default="oci", help="media types (docker: schema 2, whose peers know no zstd)")
        command.add_argument("--manifest", default="{}", help="JSON merged into the manifest: annotations, unknown keys")
        command.add_argument("--indent", type=int, help="indent the JSON documents; other bytes, so other digests")
    layer.add_argument("source", metavar="SRC")
    image.add_argument("--layer", action="append", default=[], metavar="SRC", help="lowest first")
    image.add_argument("--platform", default=host_platform(), metavar="OS/ARCH[/VARIANT]")
    image.add_argument("--config", default="{}", help='JSON merged into the config: {"config":{"Env":[..]},"unknown":1}')
    image.add_argument("--cmd", nargs=argparse.REMAINDER, help="the command: all that follows")
    many.add_argument("digest", nargs="+", metavar="DIGEST")
    return top


def main():
    args = parser().parse_args()
    open_layout(args.layout)
    if args.command == "layer":
        result = write_layer(args.layout, args.source, args.clamp)
    else:
        result = make_image(args) if args.command == "image" else make_list(args)
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
