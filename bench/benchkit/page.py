"""docs/benchmark.md out of benchmark.json and benchmark-scale.json: nothing on it is written by hand."""

import json
import os

from . import plot, results

HEAD = """# Benchmark

Made by `make bench` (and `make bench-scale`): do not edit. Figures are those of one machine in one run; ratios are what carries over.
[CONTRIBUTING.md](../CONTRIBUTING.md) says how to run it, [benchmark.json](benchmark.json) has every sample.
"""

MEASURED = """## How it is measured

- The sides of a section take turns, round after round. A time is the median of the rounds; a ratio is the median of the ratios of each round.
- Wall: from the start of the first command until the last has ended and `syncfs` has put all that was written on the disk.
- CPU: user and system time of all processes, skopeo's included, counted by a control group. The registry and the slow link are not in it.
- Memory: of all processes together, PSS at the moment when their resident sets are largest, looked at every 20 ms; *own*: the largest resident set of
  the process that was started itself (VmHWM). Of what takes milliseconds it is not taken.
- Before each run of a cold section and of deep verification, all is synced and the page cache is dropped. Of other sections the text says so.
- What bound-images wrote is read again with `verify --deep` after each run, outside of the clock; what the floor unpacked had the right digests.
- All sides are served by the same docker-registry on loopback, run as root, and write to the same file system.
"""


def write(directory):
    """Writes the page and its plots beside the figures; their names."""
    made, text = [], [HEAD]
    document = load(directory, "benchmark.json")
    if document:
        sections = [results.read(section) for section in document["sections"]]
        text += [machine(document), corpus(document["corpus"]), "## Targets\n", targets(sections),
                 "![Wall times of all sections, as bars](benchmark.svg)\n", *map(section, sections), MEASURED]
        save(directory, "benchmark.svg", plot.bars(sections, "Wall times of bound-images and of what would be used instead"))
        made += ["benchmark.json", "benchmark.svg"]
    lines = load(directory, "benchmark-scale.json")
    if lines:
        text += ["## Growth\n", "![Time and memory against the number of images, layers, files and roots](benchmark-scale.svg)\n", growth(lines)]
        save(directory, "benchmark-scale.svg", plot.growth(lines["lines"], "Growth of time and memory"))
        made += ["benchmark-scale.json", "benchmark-scale.svg"]
    save(directory, "benchmark.md", "\n".join(text))
    return [*made, "benchmark.md"]


def load(directory, name):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def save(directory, name, text):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        file.write(text)


def machine(document):
    about = document["machine"]
    disk, tools, newer = about["disk"], about["tools"], about.get("newer")
    text = (f"{about['date']}, commit {about['commit'] or 'unknown'}, {document['rounds']} round{'s' if document['rounds'] > 1 else ''}. {about['processor']}, {about['cores']} cores, "
            f"{about['memory'] / 2**30:.0f} GiB of memory; Linux {about['kernel']}; {about['system']}; {disk['file_system']} on {disk['device']}, which takes "
            f"{disk['write_bytes_per_second'] / 1e6:.0f} MB/s. Podman {tools['podman']}, skopeo {tools['skopeo']}, bound-images {tools['bound-images']}")
    if newer:
        text += f"; newer tools, in a chroot: Podman {newer['podman']}, skopeo {newer['skopeo']}"
    text += f". Others took at most {document['busy']:.0%} of the cores.\n"
    if document["busy"] > 0.1:
        text += "\n**The machine had other things to do: these figures say nothing.**\n"
    return text


def corpus(about):
    return (f"The corpus ({about['what']}): {about['images']} images in {about['layers']} distinct layers, {about['bytes'] / 1e6:.0f} MB compressed, the largest "
            f"{about['largest'] / 1e6:.0f} MB; the update is {about['update']}.\n")


def value_of(target, value):
    if value is None:
        return "–"
    if target.over:
        return f"{value:.3g}"
    return plot.seconds(value) if target.metric in ("wall", "cpu") else plot.size(value)


NAMES = {"tree": "memory of all processes", "own": "memory of our process"}


def it_names(section):
    return ("wall time", "CPU seconds") if section.names == ("wall", "CPU") else section.names


def targets(sections):
    rows = ["| section | what | at most | measured | |", "|---|---|---|---|---|"]
    for section in sections:
        for target in section.targets:
            value, met = section.judge(target)
            names = {**NAMES, **dict(zip(("wall", "cpu"), it_names(section)))}
            what = f"{target.side}: {names[target.metric]}" + (f", of that of {target.over}" if target.over else "")
            said = {True: "met", False: "**not met**", None: "not measured"}[met]
            rows.append(f"| {section.title} | {what} | {value_of(target, target.most)} | {value_of(target, value)} | {said} |")
    return "\n".join(rows) + "\n"


def section(it):
    rows = [f"## {it.title}\n", it.text + "\n"]
    if it.sides:
        wall, cpu = it.names
        rows += [f"| | {wall} | {cpu} | memory, all | own | {it.ours}: of its {wall} | … of its {cpu} |", "|---|---|---|---|---|---|---|"]
    for name in it.sides:
        cells = [plot.seconds(it.median(name, "wall")), plot.seconds(it.median(name, "cpu")), plot.size(it.median(name, "tree")),
                 plot.size(it.median(name, "own"))]
        for metric in ("wall", "cpu"):
            ratio = None if name == it.ours else it.ratio(it.ours, name, metric)
            cells.append("" if ratio is None else f"{ratio:.3g}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    rows += [f"\nSkipped: {why}" for why in it.skipped]
    return "\n".join(rows) + "\n"


def growth(document):
    rounds = document["rounds"]
    rows = ["Exponents between the two largest sizes: 1 is linear, 0 does not grow. Medians of "
            f"{rounds} round{'s' if rounds > 1 else ''}; both scales of the plots are logarithmic. Commit {document['machine']['commit']}.\n",
            "| what grows | command | from | to | time | exponent | memory of our process | exponent |", "|---|---|---|---|---|---|---|---|"]
    for line in document["lines"]:
        for series in line["series"]:
            points = series["points"]
            first, last = points[0], points[-1]
            rows.append(f"| {line['title']} | {series['name']} | {first['at']:,} | {last['at']:,} | {plot.seconds(first['wall'])} → {plot.seconds(last['wall'])} | "
                        f"{power(series['exponent']['wall'])} | {plot.size(first['own'])} → {plot.size(last['own'])} | {power(series['exponent']['own'])} |")
    return "\n".join(rows) + "\n"


def power(value):
    return "–" if value is None else f"{value:.2f}"
