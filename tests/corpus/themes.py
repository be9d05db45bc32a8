"""The layers of the nasty images, a function for each image: what comes on top of the base layer.

Each gives a list of `(Tar, compression)`. docs/store-format.md says what each feature becomes; the names of
the images stand in its table.
"""

import struct

from rawtar import GNU, V7, Tar, header, number, padded


def text(number_):
    return str(number_).encode()


def capability():
    """cap_net_bind_service+ep, as revision 2 (linux/capability.h)."""
    return struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def acl(*entries):
    """POSIX ACL, version 2 (linux/posix_acl_xattr.h): tag, permissions, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ANY = 0xFFFFFFFF
ACCESS = acl((1, 6, ANY), (2, 4, 1000), (4, 4, ANY), (16, 4, ANY), (32, 0, ANY))
DEFAULT = acl((1, 7, ANY), (2, 5, 1000), (4, 5, ANY), (16, 5, ANY), (32, 5, ANY))


def ustar():
    tar = Tar().directory(b"./", mode=0o700, uid=5)
    tar.directory(b"u/", mode=0o1777, uid=1, gid=2)
    tar.add(b"leaf", b"prefix", prefix=b"u/" + b"p" * 120)
    tar.add(b"u/suid", b"s", mode=0o4755).add(b"u/sgid", b"s", mode=0o2755, gid=8).add(b"u/all", b"s", mode=0o7777, uid=9)
    tar.add(b"u/none", b"s", mode=0o000).add(b"u/empty")
    tar.add(b"u/null", flag=b"3", mode=0o666, device=(1, 3)).add(b"u/disk", flag=b"4", mode=0o660, gid=6, device=(259, 70000))
    tar.add(b"u/pipe", flag=b"6", mode=0o622).symlink(b"u/link", b"../up/../and/away")
    tar.add(b"./u/./dotted//twice", b"dots").add(b"/u/absolute", b"slash")
    old = Tar().add(b"v7/", magic=V7, flag=b"\0").describes(b"v7").add(b"v7/file", b"old", magic=V7, flag=b"\0")
    return [(tar.end(), "gzip"), (old.end(), "gzip")]


def gnu():
    long = b"g/" + b"l" * 150
    tar = Tar().directory(b"g/", magic=GNU).add(long, b"long name", gnu_long=True)
    tar.symlink(b"g/far", b"../" + b"t" * 3000, gnu_long=True)
    tar.hard_link(b"g/" + b"h" * 140, long, gnu_long=True)
    tar.add(b"g/ids", b"i", uid=3000000, gid=2097152, magic=GNU)
    tar.add(b"g/size", b"0123456789", magic=GNU, at={124: b"\x80" + (10).to_bytes(11, "big")})
    tar.add(b"g/before-1970", b"t", mtime=-1, magic=GNU).add(b"g/after-2242", b"t", mtime=1 << 33, magic=GNU)
    # Times of access and change, where USTAR has its prefix.
    tar.add(b"g/atime", b"t", magic=GNU, at={345: number(1600000000, 12), 357: number(1600000001, 12)})
    return [(tar.end(), "gzip")]


def pax():
    tar = Tar().everywhere(comment=b"0" * 40)
    long = b"x/" + b"/".join([b"p" * 90] * 4)
    # A global path and a global owner: Go's reader, hence Podman, takes nothing from them.
    tar.everywhere(path=b"x/global", uid=b"7", mtime=b"7")
    tar.directory(b"x/", mode=0o711).add(b"short", b"path", pax={"path": long})
    tar.symlink(b"x/far", b"short", pax={"linkpath": b"q" * 2000}).hard_link(b"x/hard", b"short", pax={"linkpath": long})
    tar.add(b"x/size", b"by record", stored=0, pax={"size": b"9"})
    tar.add(b"x/owner", b"o", uid=1, pax={"uid": b"123456", "gid": b"65534", "uname": b"nobody", "gname": b"nogroup"})
    tar.add(b"x/ns", b"t", pax={"mtime": b"1234567890.123456789", "atime": b"1234567891.5", "ctime": b"1.25"})
    tar.add(b"x/last-wins", b"r", pax=[("mtime", b"5"), ("mtime", b"6")])
    tar.directory(b"x/ns.d/", pax={"mtime": b"1234567890.000000001"})
    tar.symlink(b"x/ns.l", b"ns", pax={"mtime": b"1234567890.999999999"})
    tar.add(b"x/unknown", b"u", pax={"VENDOR.key": b"\xff\0\xfe", "SCHILY.acl.access": b"user::rw-"})
    tar.directory(b"x/utf-8-\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x80/")
    return [(tar.end(), "zstd")]


def attributes():
    key = "SCHILY.xattr."
    tar = Tar().directory(b"a/", pax={key + "user.d": b"dir", key + "trusted.d": b"dir"})
    tar.add(b"a/capable", b"c", mode=0o755, uid=33, pax={key + "security.capability": capability()})
    tar.add(b"a/acl", b"c", mode=0o640, pax={key + "system.posix_acl_access": ACCESS})
    tar.directory(b"a/acl.d/", mode=0o750, pax={key + "system.posix_acl_default": DEFAULT})
    tar.add(b"a/acl.d/below", b"made below a default ACL", mode=0o600)
    tar.add(b"a/binary", b"c", pax={key + "user.nul": b"\0v\0\xff=\n", key + "user.utf-8-\u00e9": b"", key + "user.big": b"b" * 3000})
    tar.add(b"a/selinux", b"c", pax={key + "security.selinux": b"system_u:object_r:etc_t:s0\0", key + "user.kept": b"1"})
    tar.symlink(b"a/link", b"binary", pax={key + "trusted.l": b"link"})
    tar.add(b"a/null", flag=b"3", device=(1, 3), pax={key + "trusted.n": b"node"})
    tar.hard_link(b"a/again", b"a/capable", mode=0o700, uid=44, pax={key + "user.link": b"from the link"})
    tar.add(b"a/suid-owned", b"s", mode=0o6755, uid=1000, gid=1000)
    return [(tar.end(), "gzip")]


def names():
    tar = Tar().directory(b"n/").add(b"n/raw-\xff\xfe", b"not UTF-8").directory(b"n/\xe9t\xe9/").add(b"n/\xe9t\xe9/\x80", b"below")
    tar.add(b"n/" + b"m" * 255, b"255 bytes", gnu_long=True).symlink(b"n/l\xff", b"raw-\xff\xfe")
    tar.add(b"n/new\nline", b"1").add(b"n/tab\t\"quotes\"\\ 'and' $x", b"2").add(b"n/\x01\x7f", b"3").add(b"n/ ", b"space")
    tar.add(b"n/.wh", b"4").add(b"n/wh.x", b"5").add(b"n/x.wh.y", b"6").add(b"n/-", b"7").add(b"n/\xef\xbf\xbd", b"replacement character")
    tar.hard_link(b"n/hard\xff", b"n/raw-\xff\xfe")
    return [(tar.end(), "gzip")]


def long_path(length):
    """A file that many directories of 200 bytes lead to."""
    parts = [b"d" * 200] * ((length - 2) // 201)
    rest = length - 2 - 201 * len(parts)
    path = b"/".join([b"l", *parts, b"f" * rest])
    tar = Tar().directory(b"l/")
    return tar.add(path, b"at the end of %d bytes" % len(path), gnu_long=True)


def long_paths():
    return [(long_path(3500).end(), "gzip")]


def longest_path():
    return [(long_path(4030).end(), "gzip")]


def times():
    tar = Tar().directory(b"t/")
    stamps = {"before": b"-5.5", "zero": b"0", "year-2100": b"4102444800.25", "year-2300": b"10413792000.125", "year-9999": b"253402300799"}
    for name, mtime in stamps.items():
        one = {"pax": {"mtime": mtime}}
        tar.add(b"t/" + name.encode(), b"t", **one).directory(b"t/" + name.encode() + b".d/", **one)
        tar.symlink(b"t/" + name.encode() + b".l", b"before", **one).add(b"t/" + name.encode() + b".p", flag=b"6", **one)
    tar.hard_link(b"t/old-name", b"t/year-2100", mtime=1)
    return [(tar.end(), "gzip")]


def ends():
    def one(name, tail):
        return (Tar().directory(b"e/").add(b"e/" + name, name).raw(tail), "gzip")

    return [one(b"no-trailer", b""), one(b"half-trailer", b"\0" * 512), one(b"junk", b"\0" * 1024 + b"junk after the trailer"),
            one(b"long", b"\0" * 10240), one(b"member-after", b"\0" * 1024 + Tar().add(b"e/not-there", b"x").end().data),
            (Tar(), "none"), (Tar().end(), "gzip")]


def ends_in_padding():
    """As umoci of Debian 12 writes its last member."""
    def one(name, left):
        tar = Tar().directory(b"e/").add(b"e/" + name, b"1")
        return (Tar().raw(tar.data[:left - 511]), "gzip")

    return [one(b"no-padding", 0), one(b"half-padding", 200)]


def whiteouts():
    below = Tar()
    for name in (b"w/file", b"w/dir/in", b"w/whole/old", b"w/whole/sub/old", b"w/late/old", b"w/turns/old", b"w/plain", b"w/gone/d/x"):
        below.add(name, b"old")
    above = Tar().directory(b"w/").whiteout(b"w/file").whiteout(b"w/dir").whiteout(b"w/never-was")
    above.directory(b"w/whole/").opaque(b"w/whole").add(b"w/whole/new", b"new")
    above.directory(b"w/late/").add(b"w/late/new", b"new").opaque(b"w/late")
    above.opaque(b"w/implied").whiteout(b"w/gone").whiteout(b"w/gone/d").whiteout(b"w/turns").add(b"w/turns", b"a file now")
    again = Tar().add(b"w/file", b"back").directory(b"w/dir/").add(b"w/dir/other", b"back")
    return [(below.end(), "gzip"), (above.end(), "gzip"), (again.end(), "gzip")]


def whiteout_and_directory():
    below = Tar().add(b"w/both/old", b"old").add(b"w/both2/old", b"old")
    above = Tar().directory(b"w/").whiteout(b"w/both").directory(b"w/both/").add(b"w/both/new", b"new")
    return [(below.end(), "gzip"), (above.end(), "gzip")]


def hard_links():
    tar = Tar().directory(b"h/").add(b"h/a", b"shared", mode=0o600, uid=1, gid=1, mtime=100)
    tar.hard_link(b"h/b", b"h/a", mode=0o4755, uid=2, gid=3, mtime=200).hard_link(b"other/c", b"./h//a", mode=0o640, mtime=300)
    tar.symlink(b"h/s", b"a").hard_link(b"h/s2", b"h/s", uid=4)
    tar.add(b"h/dev", flag=b"3", device=(5, 1)).hard_link(b"h/dev2", b"h/dev", mode=0o600, uid=5)
    tar.add(b"h/e").hard_link(b"h/e2", b"/h/e", mode=0o400)
    upper = Tar().add(b"h/a", b"replaced above", uid=6)
    return [(tar.end(), "gzip"), (upper.end(), "gzip")]


def sized_links():
    """A hard link whose header has the size of its file; no content follows (POSIX allows it)."""
    return [(Tar().directory(b"z/").add(b"z/a", b"shared").hard_link(b"z/b", b"z/a", stored=6).end(), "gzip")]


def contiguous():
    return [(Tar().directory(b"u/").add(b"u/contiguous", b"type 7", flag=b"7").end(), "gzip")]


def linked_parents():
    tar = Tar().directory(b"p/").directory(b"p/real/").symlink(b"p/relative", b"real")
    tar.add(b"p/relative/one", b"through a link").directory(b"p/relative/sub/").describes(b"p/real/sub")
    tar.add(b"p/relative/sub/two", b"deeper")
    return [(tar.end(), "gzip")]


def absolute_parents():
    tar = Tar().directory(b"p/").directory(b"p/real/").symlink(b"p/absolute", b"/p/real")
    return [(tar.add(b"p/absolute/one", b"through an absolute link").end(), "gzip")]


def repeated():
    tar = Tar().directory(b"r/").add(b"r/same", b"same").end()
    return [(tar, "gzip"), (Tar().whiteout(b"r/same").end(), "gzip"), (tar, "gzip"), (Tar().end(), "gzip"), (Tar().end(), "gzip")]


def deep():
    return [(Tar().directory(b"many/").add(b"many/%d" % (n % 7), b"layer %d" % n).end(), "gzip") for n in range(199)]


def compressed():
    layers = []
    for name in ("none", "gzip", "gzip-members", "zstd", "zstd-frames"):
        tar = Tar().directory(b"c/")
        for n in range(5):
            tar.add(b"c/%s-%d" % (name.encode(), n), bytes((n * k * k) % 251 for k in range(9000)))
        layers.append((tar.end(), name))
    return layers


SPARSE_MAP = ((0, 5), (1048576, 3))
SPARSE_SIZE = 2000000


def pax_sparse():
    pairs = [value for pair in SPARSE_MAP for value in pair]
    common = {"GNU.sparse.name": b"s/0.1"}
    tar = Tar().directory(b"s/")
    tar.add(b"s/0.0", b"startend", pax=[("GNU.sparse.size", text(SPARSE_SIZE)), ("GNU.sparse.numblocks", b"2"),
            *[record for offset, length in SPARSE_MAP
              for record in (("GNU.sparse.offset", text(offset)), ("GNU.sparse.numbytes", text(length)))]])
    tar.add(b"GNUSparseFile.0/0.1", b"startend", pax={"GNU.sparse.size": text(SPARSE_SIZE), "GNU.sparse.numblocks": b"2",
            "GNU.sparse.map": b",".join(map(text, pairs)), **common})
    inline = padded(b"\n".join(map(text, [2, *pairs])) + b"\n")
    tar.add(b"GNUSparseFile.0/1.0", inline + b"startend", pax={"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0",
            "GNU.sparse.name": b"s/1.0", "GNU.sparse.realsize": text(SPARSE_SIZE)})
    return [(tar.end(), "gzip")]


def gnu_sparse():
    entries = {386 + 12 * at: number(value, 12) for at, value in enumerate(v for pair in SPARSE_MAP for v in pair)}
    tar = Tar().directory(b"s/").add(b"s/old", b"startend", flag=b"S", magic=GNU, at={**entries, 483: number(SPARSE_SIZE, 12)})
    # More runs than a header holds: they go on in a block of their own.
    runs = [(n * 65536, 4) for n in range(6)]
    first = {386 + 12 * at: number(value, 12) for at, value in enumerate(v for pair in runs[:4] for v in pair)}
    more = b"".join(number(value, 12) for pair in runs[4:] for value in pair).ljust(512, b"\0")
    content = b"".join(b"run%d" % n for n in range(6))
    tar.raw(header(b"s/extended", b"S", size=24, magic=GNU, at={**first, 482: b"\1", 483: number(400000, 12)}) + more + padded(content))
    return [(tar.end(), "gzip")]


def duplicates():
    tar = Tar().directory(b"d/").add(b"d/twice", b"first").hard_link(b"d/first", b"d/twice").add(b"d/twice", b"second, longer", uid=5)
    tar.hard_link(b"d/second", b"d/twice", mode=0o600).directory(b"d/tree/").add(b"d/tree/in", b"inside")
    tar.add(b"d/tree", b"now a file").add(b"d/dir", b"a file").directory(b"d/dir/").directory(b"d/dir/", mode=0o700, uid=3)
    tar.symlink(b"d/link", b"first").add(b"d/link", b"no link").add(b"./d//same", b"same").add(b"d/same", b"same")
    return [(tar.end(), "gzip")]


def file_then_whiteout():
    below = Tar().add(b"f/kept", b"old").add(b"f/dir/old", b"old")
    above = Tar().directory(b"f/").add(b"f/kept", b"new").whiteout(b"f/kept")
    above.directory(b"f/dir/").add(b"f/dir/new", b"new").whiteout(b"f/dir")
    return [(below.end(), "gzip"), (above.end(), "gzip")]


def below_whiteout():
    below = Tar().add(b"b/d/old", b"old")
    above = Tar().directory(b"b/").whiteout(b"b/d").add(b"b/d/new", b"new")
    return [(below.end(), "gzip"), (above.end(), "gzip")]


# By name; what Podman's own way to unpack cannot take is asserted in tests/conformance.rs.
THEMES = [ustar, gnu, pax, attributes, names, long_paths, longest_path, times, ends, ends_in_padding, whiteouts, whiteout_and_directory, hard_links, sized_links,
          contiguous, linked_parents, absolute_parents, repeated, deep, compressed, pax_sparse, gnu_sparse, duplicates, file_then_whiteout,
          below_whiteout]
