#!/usr/bin/env python3
"""A TCP proxy whose link can be made slow, hang or refuse while it runs.

  slow-proxy.py LISTEN_PORT TARGET_PORT CONTROL_FILE   (both on 127.0.0.1; port 0: any, printed on stdout)

The control file is read again whenever it changes. It holds one line:

  open              pass everything on, as fast as it comes (also when the file is empty or absent)
  rate BYTES        no more than BYTES a second towards the client, of all connections together
  hang BYTES        pass BYTES on towards the client in all, then say nothing more; connections stay open
  refuse            close what is open, and each new connection at once

CONTROL_FILE.sent holds how many bytes went to clients since the last change of the control file.
"""

import asyncio
import os
import sys

BLOCK = 16 * 1024


class Link:
    """What the control file says, and what went through since."""

    def __init__(self, path):
        self.path, self.stamp, self.mode, self.amount, self.sent = path, None, "open", 0, 0
        self.open = set()
        self.budget = 0

    def look(self):
        """Follows the control file; True when it changed."""
        try:
            status = os.stat(self.path)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        except FileNotFoundError:
            stamp = None
        if stamp == self.stamp:
            return False
        self.stamp, self.sent, self.mode, self.amount = stamp, 0, "open", 0
        if stamp:
            with open(self.path, encoding="ascii") as file:
                words = file.read().split()
            if words:
                self.mode = words[0]
                self.amount = int(words[1]) if len(words) > 1 else 0
        if self.mode == "refuse":
            for writer in list(self.open):
                writer.transport.abort()
        return True

    async def watch(self):
        """Looks at the control file ten times a second; hands out the bytes of that time; reports."""
        reported = None
        while True:
            if self.look():
                reported = None
            self.budget = self.amount // 10 or 1
            if self.sent != reported:
                reported = self.sent
                with open(self.path + ".sent.new", "w", encoding="ascii") as file:
                    file.write(f"{reported}\n")
                os.rename(self.path + ".sent.new", self.path + ".sent")
            await asyncio.sleep(0.1)

    async def allowed(self, wanted):
        """How many of `wanted` bytes may go now; waits until it is one at least."""
        while True:
            if self.mode == "rate":
                room, self.budget = min(wanted, self.budget), self.budget - min(wanted, self.budget)
            elif self.mode == "hang":
                room = min(wanted, self.amount - self.sent)
            else:
                room = wanted
            if room > 0:
                self.sent += room
                return room
            await asyncio.sleep(0.05)


async def pump(reader, writer, link):
    """Copies until one side ends. `link` is None for what the client sends: that is never held up."""
    while block := await reader.read(BLOCK):
        while block:
            size = await link.allowed(len(block)) if link else len(block)
            writer.write(block[:size])
            await writer.drain()
            block = block[size:]


async def serve(link, target, reader, writer):
    if link.mode == "refuse":
        writer.transport.abort()
        return
    link.open.add(writer)
    server = None
    try:
        upstream, server = await asyncio.open_connection("127.0.0.1", target)
        ways = [asyncio.ensure_future(pump(reader, server, None)), asyncio.ensure_future(pump(upstream, writer, link))]
        _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in rest:
            way.cancel()
        # What a cancelled or broken way raises is the end of its connection, nothing else.
        await asyncio.gather(*ways, return_exceptions=True)
    except OSError as error:
        print(f"slow-proxy: {error}", file=sys.stderr)
    finally:
        link.open.discard(writer)
        for end in (writer, server):
            if end:
                end.close()


async def main(listen, target, control):
    link = Link(control)
    link.look()
    server = await asyncio.start_server(lambda r, w: serve(link, target, r, w), "127.0.0.1", listen)
    print(server.sockets[0].getsockname()[1], flush=True)
    await link.watch()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
