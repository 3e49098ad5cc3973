"""Sizes for the requests that will come, read from the trace: what perfect foresight is worth to our formula.

A yardstick of ours and no proof: it knows when which lengths come, not which fleet would be best for them,
and its sizing is the operator's. Rounds of a session are foreseen as if every answer took ``pace`` seconds
per token; in a run that falls behind they come later."""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pdscale.model.plan import Plan
from pdscale.model.pools import Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale.perf.profile import Profile
from pdscale.scaling.demand import demand_for
from pdscale.scaling.rivals.reactive import cheapest_within
from pdscale.scaling.rivals.sighting import Limits, Sighting, current, recent
from pdscale.scaling.stabilization import DownscaleWindow


class Coming(NamedTuple):
    """A round: when it will come, its whole prompt, the new part of that, and its answer, in tokens."""

    at: Seconds
    prompt: int
    new: int
    output: int


class Foresight:
    """All rounds of a run, by arrival, with running sums, so that any window costs two look-ups."""

    def __init__(self, rounds: Iterable[Coming]) -> None:
        ordered = sorted(rounds)
        self._at = [r.at for r in ordered]
        self._sums: list[tuple[float, ...]] = [(0.0,) * 5]
        for r in ordered:
            figures = (r.prompt, r.new, r.new * r.new, r.output, r.output * r.output)
            self._sums.append(tuple(a + b for a, b in zip(self._sums[-1], figures, strict=True)))

    def between(self, start: Seconds, stop: Seconds) -> Workload | NoData:
        low, high = bisect_left(self._at, start), bisect_left(self._at, stop)
        count = high - low
        if not count:
            return NoData(f"no round comes in {start:g}..{stop:g} s")
        sums = (b - a for a, b in zip(self._sums[low], self._sums[high], strict=True))
        return Workload(count / (stop - start), *(s / count for s in sums))


@dataclass(slots=True)
class Clairvoyant:
    """Looks at slices of ``slice`` seconds from now to ``lead`` ahead, and takes each pool's largest need.

    It begins ``answering`` seconds ago, since answers of that time are still being decoded.
    """

    limits: Limits
    profile: Profile
    slo: SLO
    future: Foresight
    lead: Seconds
    answering: Seconds = 30.0
    slice: Seconds = 30.0
    interval: Seconds = 15.0
    step: Seconds = 15.0
    window: DownscaleWindow = field(default_factory=lambda: DownscaleWindow(60.0))

    def decide(self, seen: Sighting, now: Seconds) -> Targets | None:
        present = recent(seen, 300.0)
        local = 0.0 if isinstance(present, NoData) else present.local_share
        needs = [self._needed(start, local) for start in self._starts(now)]
        plan = Plan(self.limits.fit(Targets(max(t.prefill for t in needs), max(t.decode for t in needs))))
        return self.window.hold(plan, current=current(seen), now=now).targets

    def _starts(self, now: Seconds) -> list[Seconds]:
        first = max(0.0, now - self.answering)
        return [first + k * self.slice for k in range(math.ceil((now + self.lead - first) / self.slice))]

    def _needed(self, start: Seconds, local: float) -> Targets:
        coming = self.future.between(start, start + self.slice)
        if isinstance(coming, NoData):
            return Targets(self.limits.prefill.least, self.limits.decode.least)
        told = Workload(
            coming.request_rate,
            coming.context_tokens,
            coming.uncached_tokens,
            coming.uncached_tokens_squared,
            coming.output_tokens,
            coming.output_tokens_squared,
            local,
        )
        return cheapest_within(demand_for(told, self.profile, self.slo), self.limits)
