#!/usr/bin/env python3
"""Runs what a document says and compares what it says comes of it.

  console.py DOC.md            exit code 1, with the differences, when an output is not what the document has
  console.py --write DOC.md    puts the real outputs into the document
  console.py --demo DOC.md     what its plain block of `make demo` quotes (read from standard input) is really said

In a block that begins with ```console, `$ ` begins a command and `> ` goes on with it; the rest is
its output, both streams. A line of `…` stands for any lines. `<!-- run: ... -->` in the text is run
too, and shown to nobody. All commands of a document are run by one shell, in an empty directory, after
tests/docs/NAME.sh was read there.

Digests and sizes depend on the compressor of the machine, times on the clock: what is compared has none of them.
"""

import difflib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
HIDDEN = re.compile(r"<!-- run: (.*?) -->", re.DOTALL)
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MASKS = [
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "DIGEST"),
    (re.compile(r"\b\d+(\.\d+)? (B|kB|MB|GB)\b"), "SIZE"),
    (re.compile(r"\b\d{10}\.\d{9}\b"), "TIME"),
    (re.compile(r"\[\d+/(\d+)\] "), r"[/\1] "),
    (re.compile(r"-{2,}"), "--"),
    (re.compile(r"[ \t]+"), " "),
]
PROGRESS = re.compile(r"^\[/\d+\] .*$", re.MULTILINE)


class Shell:
    """One bash for all commands of a document."""

    def __init__(self, name):
        self.place = PROJECT / "target/docs" / name
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        self.bash = subprocess.Popen(["bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, text=True, cwd=self.place)
        prepared = self.run(f"set -e; project={PROJECT}; W=$PWD; . {PROJECT}/tests/docs/lib.sh; "
                            f". {PROJECT}/tests/docs/{name}.sh; set +e")
        if prepared.strip():
            raise SystemExit(f"{name}.sh: {prepared}")

    def run(self, command):
        """What the command says."""
        mark = secrets.token_hex(8)
        # Nothing of it may read the rest of the script.
        self.bash.stdin.write(f"{{ {command}\n}} </dev/null\necho {mark}\n")
        self.bash.stdin.flush()
        said = ""
        # A command that waits for ever: an open quote or here-document, mostly.
        signal.alarm(120)
        while not said.endswith(f"{mark}\n"):
            line = self.bash.stdout.readline()
            if not line:
                raise SystemExit(f"the shell ended at: {command}\n{said}")
            said += line
        signal.alarm(0)
        said = said[: -len(mark) - 1]
        said = said.replace(f"{self.place}/host/", "/").replace(f"{self.place}/", "")
        # The port is whichever was free.
        said = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:5000", said)
        return said

    def end(self):
        self.bash.stdin.close()
        self.bash.wait()


def steps(block):
    """(command as shown, command, output) of a block."""
    found = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append([line, line[2:], ""])
        elif line.startswith((">\n", "> ")) and not found[-1][2]:
            found[-1][0] += line
            found[-1][1] += line[2:]
        else:
            found[-1][2] += line
    return found


def masked(text):
    for pattern, to in MASKS:
        text = pattern.sub(to, text)
    # Layers come in any order.
    lines = sorted(PROGRESS.findall(text))
    return PROGRESS.sub(lambda _: lines.pop(0), text).strip()


def same(wanted, real):
    parts = [re.escape(part.strip()) for part in re.split(r"^…$", masked(wanted), flags=re.MULTILINE)]
    return re.fullmatch(r"\s*(?:.*\n)?\s*".join(parts), masked(real), re.DOTALL) is not None


def quoted(document, demo):
    """The lines of the block that the demo does not say."""
    said = {masked(line) for line in demo.splitlines()}
    blocks = re.findall(r"^```\n(\$ .*?)^```$", document, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if line.strip(" …")]
    return [line for line in lines if masked(line) not in said] if lines else ["(there is no such block)"]


def main():
    if "--demo" in sys.argv:
        wrong = quoted(Path(sys.argv[-1]).read_text(), sys.stdin.read())
        raise SystemExit("\n".join(["make demo does not say:", *wrong]) if wrong else 0)
    write = "--write" in sys.argv
    path = Path(next(word for word in sys.argv[1:] if not word.startswith("--")))
    text, out, at, wrong = path.read_text(), "", 0, []
    shell = Shell(path.stem)
    hits = [*HIDDEN.finditer(text), *BLOCK.finditer(text)]
    for hit in sorted(hits, key=lambda hit: hit.start()):
        if hit.re is HIDDEN:
            said = shell.run(hit[1])
            if said.strip():
                raise SystemExit(f"{hit[1]}: {said}")
            continue
        block = []
        for shown, command, wanted in steps(hit[1]):
            real = shell.run(command)
            if not same(wanted, real):
                wrong.append(shown + "".join(difflib.unified_diff(
                    wanted.strip("\n").splitlines(True), real.splitlines(True), "the document", "what is said")))
                wanted = real
            block.append(shown + wanted.strip("\n"))
        out += text[at : hit.start(1)] + "\n\n".join(part.rstrip("\n") for part in block) + "\n"
        at = hit.end(1)
    shell.end()
    if write:
        path.write_text(out + text[at:])
    elif wrong:
        print(f"{path} says otherwise than the programs (console.py --write mends it):\n", "\n".join(wrong), sep="")
        sys.exit(1)


if __name__ == "__main__":
    os.environ.pop("JOURNAL_STREAM", None)
    main()
