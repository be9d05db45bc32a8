"""Tar streams block by block, as no tar program writes them: every dialect, in any order, right or odd.

Nothing is checked, sorted or completed. Names are bytes. A stream remembers which directories it
describes, since the times of the others are for whoever unpacks it to choose.
"""

BLOCK = 512
USTAR, GNU, V7 = b"ustar\x0000", b"ustar  \x00", b""
DAY = 1700000000


def padded(data):
    return data + b"\0" * (-len(data) % BLOCK)


def number(value, width):
    """Octal where it fits, else GNU's base 256."""
    text = b"%0*o" % (width - 1, value) if value >= 0 else b""
    if 0 < len(text) < width:
        return text + b"\0"
    raw = bytearray(value.to_bytes(width, "big", signed=True))
    raw[0] |= 0x80
    return bytes(raw)


def header(name, flag=b"0", mode=0o644, uid=0, gid=0, size=0, mtime=DAY, link=b"", device=(0, 0),
           magic=USTAR, prefix=b"", at=None):
    """One header block; `at` puts raw bytes at offsets, before the checksum."""
    block = bytearray(BLOCK)
    fields = {0: name[:100], 100: number(mode, 8), 108: number(uid, 8), 116: number(gid, 8), 124: number(size, 12),
              136: number(mtime, 12), 156: flag, 157: link[:100], 257: magic, 345: prefix}
    if magic != V7:
        fields.update({329: number(device[0], 8), 337: number(device[1], 8)})
    for offset, raw in {**fields, **(at or {})}.items():
        block[offset:offset + len(raw)] = raw
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def records(pairs):
    """PAX records: each starts with its own length in decimal digits."""
    out = b""
    for key, value in pairs:
        body = b" " + key.encode() + b"=" + value + b"\n"
        length = len(body)
        while length != len(body) + len(str(length)):
            length = len(body) + len(str(length))
        out += str(length).encode() + body
    return out


class Tar:
    def __init__(self):
        self.data = b""
        self.described = []

    def raw(self, data):
        self.data += data
        return self

    def add(self, name, content=b"", pax=(), gnu_long=False, stored=None, **fields):
        """A member. `pax` are records before it (a dict, or pairs that may repeat a key); `gnu_long` writes its names
        as GNU entries; `stored` is the size in its header where that is not the content's."""
        if fields.get("flag") == b"5":
            self.describes(name)
        if gnu_long:
            fields["magic"] = GNU
            for flag, text in ((b"L", name), (b"K", fields.get("link", b""))):
                if len(text) > 100:
                    self.raw(header(b"././@LongLink", flag, size=len(text) + 1, mtime=0, magic=GNU) + padded(text + b"\0"))
        if pax:
            extended = records(pax.items() if isinstance(pax, dict) else pax)
            self.raw(header(b"PaxHeaders/x", b"x", size=len(extended)) + padded(extended))
        size = len(content) if stored is None else stored
        return self.raw(header(name, size=size, **fields) + padded(content))

    def everywhere(self, **pairs):
        """A global header: records for all members after it."""
        extended = records(pairs.items())
        return self.raw(header(b"pax_global_header", b"g", size=len(extended)) + padded(extended))

    def describes(self, name):
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        self.described.append(b"/".join(parts))
        return self

    def directory(self, name, mode=0o755, **fields):
        return self.add(name, flag=b"5", mode=mode, **fields)

    def symlink(self, name, link, **fields):
        return self.add(name, flag=b"2", mode=0o777, link=link, **fields)

    def hard_link(self, name, link, **fields):
        return self.add(name, flag=b"1", link=link, **fields)

    def whiteout(self, name, **fields):
        directory, _, base = name.rpartition(b"/")
        return self.add((directory + b"/" if directory else b"") + b".wh." + base, **fields)

    def opaque(self, directory):
        return self.add(directory + b"/.wh..wh..opq")

    def end(self):
        return self.raw(b"\0" * 1024)
