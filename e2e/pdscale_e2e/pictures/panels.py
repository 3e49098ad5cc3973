"""A dashboard's panels with what a Prometheus answers to their queries over some minutes.

Grafana itself is not needed: a panel is a title, a unit and a few queries with legends, all of which stand in
the chart's ``files/dashboards/*.json``. What a picture shows is what Grafana would ask for.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from pdscale_e2e.asking import ask

DASHBOARDS: Final = Path(__file__).parents[3] / "charts" / "pdscale" / "files" / "dashboards"
SAMPLES: Final = 240  # of each curve


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds of the epoch; ``rate`` is what ``$__rate_interval`` stands for, a PromQL duration."""

    start: float
    end: float
    rate: str = "1m"

    @property
    def step(self) -> float:
        return max(1.0, (self.end - self.start) / SAMPLES)


@dataclass(frozen=True, slots=True)
class Curve:
    """One series: (seconds since the window's start, value) in order, finite values only."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """One panel with its answers; ``kind`` and ``unit`` are Grafana's words. No curve means no data."""

    title: str
    kind: str
    unit: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A Prometheus, and the ServingDeployment that the dashboard's variables name."""

    url: str
    namespace: str
    name: str

    def shown(self, dashboard: str, window: Window) -> list[Shown]:
        """The panels of ``fleet``, ``router`` or ``engines``, in their order."""
        document = json.loads((DASHBOARDS / f"{dashboard}.json").read_text())
        return [self._panel(panel, window) for panel in document["panels"]]

    def _panel(self, panel: Mapping[str, Any], window: Window) -> Shown:
        found = [c for t in panel["targets"] for c in self._curves(t["expr"], t["legendFormat"], window)]
        return Shown(panel["title"], panel["type"], panel["fieldConfig"]["defaults"]["unit"], tuple(found))

    def _curves(self, query: str, legend: str, window: Window) -> list[Curve]:
        named = {"namespace": self.namespace, "name": self.name, "__rate_interval": window.rate}
        for variable, value in named.items():
            query = query.replace(f"${variable}", value)
        asked = {"query": query, "start": window.start, "end": window.end, "step": window.step}
        answer = ask("GET", f"{self.url}/api/v1/query_range?{urlencode(asked)}", timeout=30)
        return curves(json.loads(answer)["data"]["result"], legend, start=window.start)


def curves(result: Sequence[Mapping[str, Any]], legend: str, *, start: float) -> list[Curve]:
    """A range query's result, by name. ``{{label}}`` in a legend is that label's value."""
    found = []
    for series in result:
        labels = series["metric"]
        name = re.sub(r"{{(\w+)}}", lambda m, of=labels: str(of.get(m[1], "")), legend)  # type: ignore[misc]
        points = ((float(at) - start, float(value)) for at, value in series["values"])
        kept = tuple((at, value) for at, value in points if math.isfinite(value))
        if kept:
            found.append(Curve(name.strip(), kept))
    return sorted(found, key=lambda c: c.name)
