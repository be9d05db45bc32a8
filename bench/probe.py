#!/usr/bin/env python3
"""probe.py FILE: a small service, as long as nobody ends it: every 20 ms it hashes 1 MB and puts 4 KB onto the disk. At SIGTERM it
prints how long each answer took, in seconds, one a line; the first second does not count."""

import hashlib
import os
import signal
import sys
import time

EVERY = 0.02


def main():
    over = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    work, block, answers = bytes(1 << 20), bytes(4096), []
    began = time.perf_counter()
    while not over:
        start = time.perf_counter()
        hashlib.sha256(work).digest()
        os.pwrite(file, block, 0)
        os.fdatasync(file)
        end = time.perf_counter()
        if end - began > 1:
            answers.append(end - start)
        time.sleep(max(0.0, EVERY - (end - start)))
    print("\n".join(f"{answer:.6f}" for answer in answers))


main()
