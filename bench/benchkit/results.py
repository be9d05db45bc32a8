"""What was measured: sections of sides of samples; medians, ratios and targets of them."""

from dataclasses import asdict, dataclass, field
from statistics import median

from .measure import Sample

METRICS = ("wall", "cpu", "tree", "own")


@dataclass
class Target:
    """`side` needs at most `most` of what `over` needs; without `over`, at most `most` itself (seconds, bytes)."""
    side: str
    metric: str
    most: float
    over: str = ""


@dataclass
class Section:
    """One question: the same work, done by several sides in turn."""
    key: str
    title: str
    text: str
    ours: str
    sides: dict = field(default_factory=dict)
    targets: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    # What `wall` and `cpu` of its samples are.
    names: tuple = ("wall", "CPU")

    def add(self, side, sample):
        self.sides.setdefault(side, []).append(sample)

    def median(self, side, metric):
        values = [getattr(sample, metric) for sample in self.sides.get(side, ())]
        values = [value for value in values if value is not None]
        return median(values) if values else None

    def ratio(self, side, over, metric):
        """The median of the ratios of each round: what the machine did meanwhile met both."""
        pairs = zip(self.sides.get(side, ()), self.sides.get(over, ()))
        pairs = [(getattr(one, metric), getattr(other, metric)) for one, other in pairs]
        values = [one / other for one, other in pairs if one is not None and other]
        return median(values) if values else None

    def least_ratio(self, side, over, metric):
        """The ratio of the best of all rounds: noise only ever adds."""
        both = [[getattr(sample, metric) for sample in self.sides.get(name, ())] for name in (side, over)]
        return min(both[0]) / min(both[1]) if all(both) else None

    def judge(self, target):
        """The value that the target is about, and whether it is met; None where it was not measured."""
        if target.over:
            value = self.ratio(target.side, target.over, target.metric)
        else:
            value = self.median(target.side, target.metric)
        return value, None if value is None else value <= target.most

    def document(self):
        """For benchmark.json."""
        sides = {}
        for name, samples in self.sides.items():
            sides[name] = {metric: [rounded(getattr(sample, metric)) for sample in samples] for metric in METRICS}
            sides[name]["median"] = {metric: rounded(self.median(name, metric)) for metric in METRICS}
        targets = []
        for target in self.targets:
            value, met = self.judge(target)
            targets.append({**asdict(target), "value": rounded(value), "met": met})
        return {"key": self.key, "title": self.title, "text": self.text, "ours": self.ours, "sides": sides,
                "targets": targets, "skipped": self.skipped, "names": self.names}


def read(document):
    """A section out of benchmark.json."""
    section = Section(document["key"], document["title"], document["text"], document["ours"], skipped=document["skipped"],
                      names=tuple(document.get("names", ("wall", "CPU"))))
    for name, side in document["sides"].items():
        section.sides[name] = [Sample(*values) for values in zip(*(side[metric] for metric in METRICS))]
    section.targets = [Target(t["side"], t["metric"], t["most"], t["over"]) for t in document["targets"]]
    return section


def rounded(value):
    return round(value, 6) if isinstance(value, float) else value
