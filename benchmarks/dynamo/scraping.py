"""What our rules would know of the simulated cluster, from what the simulator tells a scaling policy.

A tick says how many requests came and ended since the last one, mean lengths of those that ended, how many
replicas are ready, starting and draining, and each replica's last forward pass with what runs and waits on
it. That makes rates, gauges and pool states. Three things are not told:

- *Second moments of lengths.* The means of windows of n requests scatter by sigma / sqrt(n), so the mean of
  n (m - mean)^2 over windows estimates sigma^2. Until many windows are known a variation of 1 counts as one
  of them (a prior, ours).
- *Lengths on arrival*, which our routers tell. There the planner has nothing but lengths of ended requests.
- *How busy a prefill replica is.* Prompts that ended, times what the profile says they take; HPA's rule needs
  it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.dynamo.simulator import INTERVAL, Tick
from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import PoolState, Role
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.perf.profile import Profile
from pdscale.scaling.history import History
from pdscale.workload.trace import Trace
from pdscale_forecaster.series import Series

_COLUMNS: Final = 10


@dataclass(slots=True)
class Scatter:
    """Mean and second moment of single requests' lengths, from means of windows of them."""

    _windows: list[tuple[float, float]] = field(default_factory=list)

    def add(self, count: float, mean: float) -> None:
        if count > 0:
            self._windows.append((count, mean))

    def squared(self, mean: float) -> float:
        """E[x^2] of lengths with this mean: 100 windows of 15 requests whose means scatter by 10 % say that
        single lengths have a variation of 0.1 * sqrt(15) = 0.39."""
        total = math.fsum(n for n, _ in self._windows)
        if not total:
            return 2 * mean * mean
        middle = math.fsum(n * m for n, m in self._windows) / total
        spread = math.fsum(n * (m - middle) ** 2 for n, m in self._windows)
        variation = (1 + spread / (middle * middle)) / len(self._windows)
        return mean * mean * (1 + variation)


@dataclass(frozen=True, slots=True)
class Seen:
    """The fleet at one instant, as rules of `pdscale.scaling.rivals` look at it."""

    prefill: PoolState
    decode: PoolState
    view: ClusterView
    busy: Mapping[Role, float]
    scraped: "Scraped"

    def past(self, window: Seconds) -> History | NoData:
        return self.scraped.past(window)


@dataclass(slots=True)
class Scraped:
    """All ticks so far. One tick is one sample of each series. ``before`` is a past that ends with time 0."""

    profile: Profile
    step: Seconds = INTERVAL
    before: Trace | None = None
    _rows: list[tuple[float, ...]] = field(default_factory=list)
    _passes: dict[tuple[str, int], Mapping[str, Any]] = field(default_factory=dict)
    _prompts: Scatter = field(default_factory=Scatter)
    _answers: Scatter = field(default_factory=Scatter)
    _now: Seconds = 0.0

    def __post_init__(self) -> None:
        if self.before is not None:
            self._rows += (self._row(traffic, gauges=None) for traffic in windows(self.before, self.step))

    def take(self, tick: Tick) -> Seen:
        self._now = tick["now_ms"] / 1e3
        for role in ("prefill", "decode"):
            for seen in tick[f"{role}_fpm_snapshots"]:
                self._passes[role, seen["worker_id"]] = seen
        here = {
            (role, worker)
            for role in ("prefill", "decode")
            for state in ("active", "draining")
            for worker in tick[f"{state}_{role}_ids"]
        }
        self._passes = {key: seen for key, seen in self._passes.items() if key in here}
        traffic = tick["traffic"] or {}
        gauges = (float(self._on("decode")), float(self._on("prefill")))
        self._rows.append(self._row(traffic, gauges=gauges))
        busy = _ended(traffic) * self.profile.prefill_seconds(_mean(traffic, "avg_isl"))
        ready = tick["active_prefill_count"]
        return Seen(
            prefill=_pool(tick, "prefill"),
            decode=_pool(tick, "decode"),
            view=ClusterView(tuple(self._endpoints(tick))),
            busy={Role.PREFILL: busy / self.step / ready if ready else 0.0, Role.DECODE: 0.0},
            scraped=self,
        )

    def past(self, window: Seconds) -> History | NoData:
        if not self._rows:
            return NoData("nothing has been told yet")
        rows = self._rows[-max(1, round(window / self.step)) :]
        start = self._now - self.step * (len(rows) - 1)
        return History(*(Series(start, self.step, values) for values in zip(*rows, strict=True)))

    def _row(self, traffic: Mapping[str, Any], *, gauges: tuple[float, float] | None) -> tuple[float, ...]:
        """In the order of ``History``'s fields."""
        ended, prompt, answer = _ended(traffic), _mean(traffic, "avg_isl"), _mean(traffic, "avg_osl")
        self._prompts.add(ended, prompt)
        self._answers.add(ended, answer)
        rate = ended / self.step
        return (
            traffic.get("num_req", 0) / self.step,
            rate,
            rate * prompt,
            rate * prompt,
            rate * self._prompts.squared(prompt),
            rate * answer,
            rate * self._answers.squared(answer),
            math.nan if not ended else 0.0,
            *(gauges or (math.nan, math.nan)),
        )

    def _on(self, role: str) -> int:
        return sum(
            _running(seen, role) + _waiting(seen, role) for (r, _), seen in self._passes.items() if r == role
        )

    def _endpoints(self, tick: Tick) -> Iterable[Endpoint]:
        for role in Role:
            for worker in tick[f"active_{role}_ids"]:
                seen = self._passes.get((str(role), worker))
                load = Load() if seen is None else Load(_running(seen, role), _waiting(seen, role))
                yield Endpoint(f"{role}-{worker}", "", role, load=load)


def windows(trace: Trace, step: Seconds) -> Iterator[dict[str, float]]:
    """What the simulator would have told of a trace that it has not replayed: requests end at once."""
    count = math.ceil(trace.at[-1] / step)
    sums = [[0, 0, 0] for _ in range(count + 1)]
    for at, prompt, output in zip(trace.at, trace.prompt, trace.output, strict=True):
        window = sums[int(at / step)]
        window[0], window[1], window[2] = window[0] + 1, window[1] + prompt, window[2] + output
    for n, prompts, outputs in sums[:count]:
        means = {"avg_isl": prompts / n, "avg_osl": outputs / n} if n else {}
        yield {"num_req": n, "shape_count": n, **means}


def _pool(tick: Tick, role: str) -> PoolState:
    return PoolState(
        desired=tick[f"non_draining_{role}_count"],
        ready=tick[f"active_{role}_count"],
        starting=tick[f"starting_{role}_count"],
        terminating=tick[f"draining_{role}_count"],
    )


def _ended(traffic: Mapping[str, Any]) -> float:
    return float(traffic.get("shape_count", 0))


def _mean(traffic: Mapping[str, Any], name: str) -> float:
    return float(traffic.get(name, 0.0))


def _running(seen: Mapping[str, Any], role: str) -> int:
    return int(seen[f"num_{role}_requests"])


def _waiting(seen: Mapping[str, Any], role: str) -> int:
    return int(seen[f"num_queued_{role}"])
