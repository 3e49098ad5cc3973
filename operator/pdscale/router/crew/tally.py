"""Adds up what several processes tell of themselves, so that whoever scrapes them sees one router.

What a process had counted stays in the sum when it dies. A counter that falls looks to Prometheus like a
restart, after which all that is left of it would be taken for new: a burst of requests that never came.
What it counted after it was asked last is lost with it.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

# Views of the same thing, not parts of it: the largest is told, and what one does not know, nobody does.
_VIEWS: Final = frozenset(("pdscale_router_sessions", "pdscale_router_discovery_age_seconds"))
_LASTING: Final = ("counter", "histogram")

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Family:
    """One series' samples, in the order in which they were first told."""

    name: str
    help: str
    type: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)

    def add(self, other: "Family") -> None:
        combined = _largest if self.name in _VIEWS else float.__add__
        for key, value in other.samples.items():
            known = self.samples.get(key)
            self.samples[key] = value if known is None else combined(known, value)

    def metric(self) -> Metric:
        metric = Metric(self.name, self.help, self.type)
        for (name, labels), value in self.samples.items():
            metric.add_sample(name, dict(labels), value)
        return metric


Told = dict[str, Family]


class Tally(Collector):
    """Processes are known by numbers that are never used again."""

    def __init__(self) -> None:
        self._latest: dict[int, Told] = {}
        self._departed: Told = {}

    def tell(self, process: int, exposition: str) -> None:
        """What a process says now, in place of what it said before."""
        self._latest[process] = {family.name: family for family in _read(exposition)}

    def departed(self, process: int) -> None:
        last = self._latest.pop(process, {})
        _add(self._departed, (family for family in last.values() if family.type in _LASTING))

    def collect(self) -> Iterable[Metric]:
        total: Told = {}
        for told in (self._departed, *self._latest.values()):
            _add(total, told.values())
        return [family.metric() for family in total.values()]


def _read(exposition: str) -> Iterator[Family]:
    for metric in text_string_to_metric_families(exposition):
        family = Family(metric.name, metric.documentation, metric.type)
        for sample in metric.samples:
            family.samples[sample.name, tuple(sample.labels.items())] = float(sample.value)
        yield family


def _add(total: Told, families: Iterable[Family]) -> None:
    for family in families:
        total.setdefault(family.name, Family(family.name, family.help, family.type)).add(family)


def _largest(one: float, other: float) -> float:
    return math.nan if math.isnan(one) or math.isnan(other) else max(one, other)
