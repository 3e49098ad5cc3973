"""How high a load is, by the longest past that it has not left since.

A minute of Poisson arrivals at 5/s is 6 % off, and whoever sizes for the last minute follows chance up and
down. Where nothing has changed for half an hour, its mean is 1 % off. So the past is doubled, a minute, two,
four, for as long as its newer half does not differ from its older one by more than chance (a change detector
on exponential windows, as ADWIN: Bifet and Gavalda, SDM 2007): a load that stays is known ever better and
asks for no change, and one that moves is known by what came since it moved. A slow rise is believed earlier
than a fall: too few replicas cost more.

Chance is measured. Counts scatter by more than Poisson's where clients send in bursts; the index of
dispersion is taken from differences of neighbouring samples, which no slow trend inflates (von Neumann,
1941). Numbers of requests at work scatter by Poisson's variance, but samples of one crowd are one sample.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from pdscale.model.units import Seconds
from pdscale.scaling.mix import CHANCE
from pdscale_forecaster.series import Series

STEADY: Final[Seconds] = 900.0  # phases of some minutes are followed, not called steady
UNTRIED: Final[Seconds] = 480.0  # the same for a load of which nothing else is known
WELL_KNOWN: Final[Seconds] = 240.0  # a half this long tells a rise from chance by fewer standard errors
RISING: Final = 2.0  # standard errors of means of minutes; if it was chance, the newer mean is a good one too


@dataclass(frozen=True, slots=True)
class Chance:
    """Variance of a mean of ``window`` seconds: ``per_mean`` times the mean, over the window or ``apart``
    seconds, if these are more (shorter windows see one and the same crowd)."""

    per_mean: float
    apart: Seconds = 0.0

    def variance(self, mean: float, window: Seconds) -> float:
        return self.per_mean * mean / max(window, self.apart)


@dataclass(frozen=True, slots=True)
class Level:
    """``mean`` of the last ``since`` seconds; ``ever`` if these are all that is known."""

    mean: float
    since: Seconds
    chance: Chance
    ever: bool = False

    @property
    def steady(self) -> bool:
        """Whether nothing has changed for long."""
        return self.since >= (UNTRIED if self.ever else STEADY)

    def may_be(self, value: float, *, window: Seconds) -> bool:
        """Whether so many seconds of this level may have that mean by chance."""
        return abs(value - self.mean) <= CHANCE * math.sqrt(self.chance.variance(self.mean, window))


def level_of_rate(rate: Series, *, now: Seconds) -> Level | None:
    """Of a rate of arrivals, looking back ``now`` seconds at least; ``None`` where nothing is known."""
    return _level(rate, Chance(_dispersion(rate)), now=now, most=math.inf)


def level_of_streams(streams: Series, *, now: Seconds, most: Seconds, crowd: Seconds) -> Level | None:
    """Of a number of requests at work, each of which stays for some time, in the last ``most`` seconds at
    most. After ``crowd`` seconds they are others: E[S^2] / E[S] of the time S that they stay."""
    apart = max(crowd, streams.step)
    return _level(streams, Chance(apart, apart), now=now, most=most)


def _level(series: Series, chance: Chance, *, now: Seconds, most: Seconds) -> Level | None:
    found = None
    for newer, older in _halves(series, now):
        both = [v for v in (*newer, *older) if not math.isnan(v)]
        since = (len(newer) + len(older)) * series.step
        if found is not None and (since > most or _differ(newer, older, chance, series.step)):
            break
        if both:
            ever = len(newer) + len(older) == len(series.values)
            found = Level(math.fsum(both) / len(both), since, chance, ever)
    return found


def _differ(newer: Sequence[float], older: Sequence[float], chance: Chance, step: Seconds) -> bool:
    """Whether two neighbouring times are of two levels, by more than chance explains."""
    halves = [[v for v in half if not math.isnan(v)] for half in (newer, older)]
    if not all(halves):
        return False
    means = [math.fsum(half) / len(half) for half in halves]
    together = math.fsum(map(math.fsum, halves)) / sum(map(len, halves))
    variance = math.fsum(chance.variance(together, len(half) * step) for half in halves)
    early = means[0] > means[1] and len(newer) * step >= WELL_KNOWN
    return abs(means[0] - means[1]) > (RISING if early else CHANCE) * math.sqrt(variance)


def _halves(series: Series, now: Seconds) -> Iterator[tuple[Sequence[float], Sequence[float]]]:
    """The last ``now`` seconds, then twice as many, and so on: newer and older half."""
    values, count = series.values, max(1, round(now / series.step))
    yield values[-count:], ()
    while count < len(values):
        yield values[-count:], values[max(0, len(values) - 2 * count) : -count]
        count *= 2


def burstiness_of(rate: Series) -> float:
    """Squared variation of the gaps between arrivals, which is what counts over long times have as variance
    over mean; 1 unless chance does not explain more.

    Of n counts it is off by sqrt(3 / n) of itself (differences of neighbours): 1.5 of 110 is no chance.
    """
    found = _dispersion(rate)
    return found if found > 1 + CHANCE * math.sqrt(3 / max(1, rate.known)) else 1.0


def _dispersion(rate: Series) -> float:
    """Variance over mean of counts per sample, at least Poisson's 1."""
    known = [v * rate.step for v in rate.values if not math.isnan(v)]
    total = math.fsum(known)
    if len(known) < 2 or total <= 0:
        return 1.0
    squares = math.fsum((b - a) ** 2 for a, b in pairwise(known))
    return max(1.0, squares / (2 * (len(known) - 1)) / (total / len(known)))
