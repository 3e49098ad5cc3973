"""From a run's columns to the figures that policies are compared by.

A round attains its objectives if it was served, its TTFT is within its limit and its mean TPOT within the
SLO's. *Strict* attainment also wants that at most a tenth of its gaps between tokens were above the TPOT
limit: a mean hides stalls that a reader sees. Every round that arrived in the window counts, refused and cut
ones too; leaving them out would reward whoever refuses.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pdscale.model.quantiles import quantile
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.sim.records import NONE, REASONS, Outcome, Result

SLOW_SHARE: Final = 0.1  # of a round's gaps, for strict attainment


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of one figure over ``count`` rounds; NaN over none."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        ordered = sorted(values)
        if not ordered:
            return Spread(0, math.nan, math.nan, math.nan, math.nan)
        mean = math.fsum(ordered) / len(ordered)
        return Spread(len(ordered), mean, *(quantile(ordered, q) for q in (0.5, 0.9, 0.99)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Shares are of ``rounds``, those that arrived in the window. ``rate`` is their arrivals per second and
    ``goodput`` those that attained, per second. ``local_share`` is of the rounds that were placed.
    """

    rounds: int
    served: int
    rate: float
    attainment: float
    ttft_attainment: float
    tpot_attainment: float
    strict_attainment: float
    goodput: float
    ttft: Spread
    tpot: Spread
    local_share: float
    moved_tokens: int
    computed_tokens: int
    gpu_hours: float
    changes: int


def judge(result: Result, slo: SLO, *, start: Seconds = 0.0, stop: Seconds = math.inf) -> Verdict:
    """Rounds that arrived in [start, stop). GPU hours and changes are the whole run's."""
    ttfts, tpots = array("d"), array("d")
    rounds = in_ttft = in_tpot = both = strict = local = placed = moved = computed = 0
    first, last = math.inf, 0.0
    output = result.traffic.output
    for i, arrived in enumerate(result.arrived):
        if not start <= arrived < stop:  # NaN, never arrived, is in no window
            continue
        rounds += 1
        first, last = min(first, arrived), max(last, arrived)
        moved += result.moved[i]
        computed += result.computed[i]
        if result.local[i] != NONE:
            placed += 1
            local += result.local[i]
        if result.outcome[i] != Outcome.SERVED:
            continue
        ttft, tpot = result.ttft(i), result.tpot(i)
        ttfts.append(ttft)
        if tpot is not None:
            tpots.append(tpot)
        quick, smooth = ttft <= result.limit[i], tpot is None or tpot <= slo.tpot
        in_ttft += quick
        in_tpot += smooth
        if quick and smooth:
            both += 1
            strict += result.slow_gaps[i] <= SLOW_SHARE * (output[i] - 1)
    span = (stop if stop < math.inf else last) - (start if start > 0 else min(first, last))
    return Verdict(
        rounds=rounds,
        served=len(ttfts),
        rate=_share(rounds, span),
        attainment=_share(both, rounds),
        ttft_attainment=_share(in_ttft, rounds),
        tpot_attainment=_share(in_tpot, rounds),
        strict_attainment=_share(strict, rounds),
        goodput=_share(both, span),
        ttft=Spread.of(ttfts),
        tpot=Spread.of(tpots),
        local_share=_share(local, placed),
        moved_tokens=moved,
        computed_tokens=computed,
        gpu_hours=result.fleet.gpu_hours,
        changes=result.fleet.changes,
    )


def reasons(result: Result) -> dict[str, int]:
    """How many rounds were placed for which reason, in the reasons' own order."""
    counts = [0] * len(REASONS)
    for code in result.reason:
        if code != NONE:
            counts[code] += 1
    return {str(reason): n for reason, n in zip(REASONS, counts, strict=True) if n}


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
