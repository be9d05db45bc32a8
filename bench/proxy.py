#!/usr/bin/env python3
"""A TCP proxy with the shape of a real registry: each request is late, each connection has its rate.

  proxy.py LISTEN_PORT TARGET_PORT DELAY RATE    (ports on 127.0.0.1; seconds; bytes a second)

A request is what the client sends after the server has answered, or first; it is held back for DELAY. What
the server sends goes on in blocks, each when its time has come; the clock of a connection starts again with each request, so that time
in which nobody wanted anything is not saved up. Blocks are an eighth of a second long: at some connections
of 5 MB/s this costs one or two hundredths of a core, which is what a benchmark on two cores can bear.
"""

import asyncio
import sys
import time


class Link:
    """One connection."""

    def __init__(self, delay, rate):
        self.delay, self.rate = delay, rate
        self.answered, self.free_at = True, 0.0

    async def requests(self, reader, writer):
        while block := await reader.read(64 * 1024):
            if self.answered:
                self.answered = False
                await asyncio.sleep(self.delay)
                self.free_at = time.monotonic()
            writer.write(block)
            await writer.drain()

    async def answers(self, reader, writer):
        while block := await reader.read(max(4096, self.rate // 8)):
            self.answered = True
            self.free_at += len(block) / self.rate
            wait = self.free_at - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            writer.write(block)
            await writer.drain()


async def serve(target, delay, rate, reader, writer):
    server = None
    try:
        # What is on its way in buffers would come faster than the rate: they hold one block.
        upstream, server = await asyncio.open_connection("127.0.0.1", target, limit=max(4096, rate // 8))
        link = Link(delay, rate)
        ways = [asyncio.ensure_future(link.requests(reader, server)), asyncio.ensure_future(link.answers(upstream, writer))]
        _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in rest:
            way.cancel()
        # What a cancelled or broken way raises is the end of its connection, nothing else.
        await asyncio.gather(*ways, return_exceptions=True)
    except OSError as error:
        print(f"proxy: {error}", file=sys.stderr)
    finally:
        for end in (writer, server):
            if end:
                end.close()


async def main(listen, target, delay, rate):
    server = await asyncio.start_server(lambda r, w: serve(target, delay, rate, r, w), "127.0.0.1", listen)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
