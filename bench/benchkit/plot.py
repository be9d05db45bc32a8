"""Plots as SVG: bars of a section, lines of a growth. In both themes, readable without colour."""

import math
from html import escape

STYLE = """<style>
  .page { fill: #ffffff }
  text { fill: #1f2328; font-family: sans-serif; font-size: 12px }
  .head { font-size: 14px; font-weight: bold }
  .quiet { fill: #57606a }
  .peer { fill: #afb8c1 }
  .us { fill: #0969da }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .line { fill: none; stroke-width: 2 }
  .s0 { stroke: #0969da } .s1 { stroke: #9a6700; stroke-dasharray: 7 3 } .s2 { stroke: #1a7f37; stroke-dasharray: 2 3 } .s3 { stroke: #8250df; stroke-dasharray: 9 3 2 3 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #8d96a0 } .peer { fill: #484f58 } .us { fill: #4493f8 } .grid { stroke: #30363d }
    .s0 { stroke: #4493f8 } .s1 { stroke: #d29922 } .s2 { stroke: #3fb950 } .s3 { stroke: #ab7df8 }
  }
</style>"""


def seconds(value):
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.3g} ms"
    return f"{value:.1f} s" if value < 100 else f"{value:.0f} s"


def size(value):
    if value is None:
        return "–"
    return f"{value / 1e6:.0f} MB" if value >= 1e7 else f"{value / 1e6:.1f} MB"


def page(width, height, title, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n<title>{escape(title)}</title>\n{STYLE}\n'
            f'<rect class="page" width="{width}" height="{height}"/>\n' + "\n".join(body) + "\n</svg>\n")


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def bars(sections, title):
    """Wall times, a panel for each section with a scale of its own."""
    body, y, width = [], 30, 840
    for section in sections:
        medians = {name: section.median(name, "wall") for name in section.sides}
        if not medians:
            continue
        body.append(text(20, y, section.title, "head"))
        most = max(medians.values())
        for name, value in medians.items():
            y += 22
            long = 430 * value / most if most else 0
            kind = "us" if name.startswith(("bound-images", "verify")) else "peer"
            body += [text(220, y, name, anchor="end"), f'<rect class="{kind}" x="230" y="{y - 12}" width="{max(long, 1):.1f}" height="15"/>',
                     text(236 + long, y, seconds(value), "quiet")]
        y += 38
    return page(width, y, title, body)


class Axis:
    """A logarithmic scale from the decade below the least value to the one above the largest."""

    def __init__(self, values, start, end):
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values)) - 1e-9))
        self.start, self.end = start, end

    def at(self, value):
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def decades(self):
        return [10.0 ** power for power in range(self.low, self.high + 1)]


def growth(lines, title):
    """A row for each growth: time at the left, memory of our process at the right; both scales logarithmic."""
    body, width, row = [], 840, 300
    for at, line in enumerate(lines):
        top = at * row
        body.append(text(20, top + 24, line["title"], "head"))
        for left, metric, show in ((70, "wall", seconds), (480, "own", size)):
            body += panel(line, metric, show, left, top + 40)
        for number, series in enumerate(line["series"]):
            x = 70 + 190 * number
            body += [f'<path class="line s{number % 4}" d="M{x} {top + 278}h26"/>', text(x + 32, top + 282, series["name"], "quiet")]
    return page(width, row * len(lines), title, body)


def panel(line, metric, show, left, top):
    width, height = 330, 190
    series = [(number, [(p["at"], p[metric]) for p in s["points"] if p[metric]]) for number, s in enumerate(line["series"])]
    points = [point for _, its in series for point in its]
    if not points:
        return []
    across, up = Axis([x for x, _ in points], left, left + width), Axis([y for _, y in points], top + height, top)
    body = []
    for value in across.decades():
        x = across.at(value)
        body += [f'<path class="grid" d="M{x:.1f} {top}v{height}"/>', text(x, top + height + 16, f"{value:,.0f}", "quiet", "middle")]
    for value in up.decades():
        y = up.at(value)
        body += [f'<path class="grid" d="M{left} {y:.1f}h{width}"/>', text(left - 6, y + 4, show(value), "quiet", "end")]
    for number, its in series:
        path = " ".join(f"{'L' if at else 'M'}{across.at(x):.1f} {up.at(y):.1f}" for at, (x, y) in enumerate(its))
        if path:
            body.append(f'<path class="line s{number % 4}" d="{path}"/>')
    return body
