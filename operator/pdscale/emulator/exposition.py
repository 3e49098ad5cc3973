"""An engine's plain numbers as Prometheus series, whatever their names.

A collector in a registry of its own reads the numbers when somebody scrapes; between scrapes there is
nothing to keep up to date, and several engines may live in one process. Counters and histograms carry their
``_created`` gauges, as the real ones do. A series' ``read`` gets the engine, and is a table's business.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pdscale.emulator.engine import Engine
from pdscale.emulator.stats import Histogram

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Gauge:
    name: str
    text: str
    read: Callable[[Engine], float]


@dataclass(frozen=True, slots=True)
class Counter:
    name: str
    text: str
    read: Callable[[Engine], float]


@dataclass(frozen=True, slots=True)
class GaugeBy:
    """One figure for each value of a label."""

    name: str
    text: str
    label: str
    read: Callable[[Engine], Figures]


@dataclass(frozen=True, slots=True)
class CounterBy:
    """All ``kinds`` are there from the start: a series that appears with its first event loses that."""

    name: str
    text: str
    label: str
    kinds: tuple[str, ...]
    read: Callable[[Engine], Figures]


@dataclass(frozen=True, slots=True)
class HistogramOf:
    name: str
    text: str
    read: Callable[[Engine], Histogram]


@dataclass(frozen=True, slots=True)
class Info:
    """What does not change, as labels of a gauge that is 1."""

    name: str
    text: str
    read: Callable[[Engine], Mapping[str, str]]


Series = Gauge | Counter | GaugeBy | CounterBy | HistogramOf | Info


def registry_of(
    engine: Engine, series: Sequence[Series], *, labels: Mapping[str, str], started: float
) -> CollectorRegistry:
    """Every series gets ``labels``. ``started`` is a Unix time."""
    registry = CollectorRegistry()
    registry.register(_Collector(engine, series, labels, started))
    return registry


class _Collector(Collector):
    def __init__(
        self, engine: Engine, series: Sequence[Series], labels: Mapping[str, str], started: float
    ) -> None:
        self._engine = engine
        self._series = series
        self._labels = dict(labels)
        self._started = started

    def collect(self) -> Iterator[Metric]:
        return (self._family(series) for series in self._series)

    def _family(self, series: Series) -> Metric:
        engine = self._engine
        match series:
            case Gauge(name, text, read):
                return self._gauge(name, text, "", {"": read(engine)})
            case GaugeBy(name, text, label, by):
                return self._gauge(name, text, label, by(engine))
            case Info(name, text, facts):
                labels = {**self._labels, **facts(engine)}
                family = GaugeMetricFamily(name, text, labels=list(labels))
                family.add_metric(list(labels.values()), 1)
                return family
            case Counter(name, text, read):
                return self._counter(name, text, "", {"": read(engine)})
            case CounterBy(name, text, label, kinds, by):
                figures = by(engine)
                return self._counter(name, text, label, {kind: figures.get(kind, 0) for kind in kinds})
            case HistogramOf(name, text, histogram):
                return self._histogram(name, text, histogram(engine))

    def _gauge(self, name: str, text: str, label: str, figures: Figures) -> Metric:
        family = GaugeMetricFamily(name, text, labels=self._names(label))
        for kind, figure in figures.items():
            family.add_metric(self._values(label, kind), figure)
        return family

    def _counter(self, name: str, text: str, label: str, figures: Figures) -> Metric:
        family = CounterMetricFamily(name, text, labels=self._names(label))
        for kind, figure in figures.items():
            family.add_metric(self._values(label, kind), figure, created=self._started)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        bounds: Iterable[float] = (*histogram.bounds, math.inf)
        buckets = [
            ("+Inf" if math.isinf(bound) else str(bound), float(count))
            for bound, count in zip(bounds, accumulate(histogram.counts), strict=True)
        ]
        family = HistogramMetricFamily(name, text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), buckets, histogram.total)
        family.add_sample(f"{name}_created", self._labels, self._started)
        return family

    def _names(self, label: str) -> list[str]:
        return [*self._labels, label] if label else list(self._labels)

    def _values(self, label: str, kind: str) -> list[str]:
        return [*self._labels.values(), kind] if label else list(self._labels.values())
