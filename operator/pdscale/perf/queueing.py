"""How many prefill replicas keep the waits of a given work within a limit.

A pool whose router sends each round to the replica that is done with its queue first is one queue with c
servers, M/G/c. A round waits longer than t with

    P(W > t) ~ rho^(sqrt(2 (c + 1)) - 1) * exp(-2 t c (1 - rho) / (E[S] (1 + C^2)))

The first factor is the share that waits at all (Sakasegawa, Ann. Inst. Stat. Math. 1977, from his mean wait
of M/M/c); the second is the exponential tail of heavy traffic (Kingman; Kollerstrom 1974 for c servers). With
one server both are what M/G/1 has: rho * exp(-2 t (1 - rho) / (E[S] (1 + C^2))). The 1 is the squared
variation of Poisson's gaps; where arrivals come in bursts, theirs takes its place (Kingman). A share that
waits is larger then as well, which this leaves out.

What a round may wait is what its own work S leaves of the limit T, so the tail is taken at (T - S)^+, over a
log-normal S of the same two moments (prompts' lengths are). Of the share that may be late, those have theirs
first that are late on an idle replica, P(S > T); waits get the rest, but at least half of it: where too many
prompts are too long, no number of replicas would do.

Why a pool: prompts of recorded conversations vary so much (C^2 = 3) that one replica of 0.4 s a round may be
13 % busy before a twentieth of them is later than 2 s, but four that share the work 62 %. Sized as if each
had a queue of its own, 7 replicas were held at 15 % load where 3 to 4 kept the same promise.

Simulated with log-normal work, 1 to 7 servers, C^2 of 0.5, 1 and 3: at the load that the formula allows for
5 %, 3.3 to 5 % are late where 2 % are anyway, and 6 to 7 % where 5 % are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

from pdscale.model.units import Seconds

MOST_LOAD: Final = 0.95  # above it the tail formula is an extrapolation
_HALVINGS: Final = 32
_POINTS: Final = 12  # of the log-normal law, each for as many rounds
_NORMAL: Final = tuple(NormalDist().inv_cdf((i + 0.5) / _POINTS) for i in range(_POINTS))


@dataclass(frozen=True, slots=True)
class Pool:
    """``service`` is a round's mean time on a replica, ``variation`` its squared coefficient of variation.

    Rounds may take ``limit`` seconds, waiting included, and a share ``late`` of them longer. Gaps between
    arrivals have the squared coefficient of variation ``burstiness``, 1 for Poisson's.
    """

    service: Seconds
    variation: float
    limit: Seconds
    late: float
    burstiness: float = 1.0

    @property
    def hopeless(self) -> float:
        """The share that is late on an idle replica."""
        if self.service <= 0 or self.limit <= 0:
            return 0.0 if self.limit > 0 else 1.0
        spread = math.sqrt(math.log1p(self.variation))
        if spread < 1e-9:
            return 1.0 if self.service > self.limit else 0.0
        return NormalDist().cdf((math.log(self.service / self.limit) - spread * spread / 2) / spread)

    def load(self, replicas: float) -> float:
        """The largest share of their time that so many may be busy; 0 where an idle one is too slow."""
        return _load(self, replicas)

    def saturated(self, replicas: float) -> bool:
        """Whether being busy all the time bounds them, and not how long rounds wait."""
        return self.load(max(1.0, replicas)) >= MOST_LOAD

    def rate(self, replicas: float) -> float:
        """Rounds per second that so many carry together: more than so many times one. A fraction of a
        replica carries that fraction.

        E[S] 0.4 s, C^2 3, 2 s, 5 %: one carries 0.3/s at 13 % load, 2 1.9/s at 37 %, 4 6.2/s at 62 %.
        """
        if self.service <= 0:
            return math.inf if replicas > 0 else 0.0
        servers = max(1.0, replicas)
        return min(1.0, replicas) * servers * self.load(servers) / self.service

    def replicas(self, rate: float) -> float:
        """The fewest that carry ``rate``; ``inf`` where an idle one is too slow."""
        if rate <= 0 or self.service <= 0:
            return 0.0
        one = self.rate(1.0)
        if one <= 0:
            return math.inf
        if rate <= one:
            return rate / one
        work, waits = rate * self.service, _Waits(self)
        low, high = max(1.0, work / MOST_LOAD), rate / one  # pooled, never more than as many queues
        if low >= high or waits.allowed(work / low, low):
            return min(low, high)
        return high - largest(lambda less: waits.allowed(work / (high - less), high - less), high - low)


class _Waits:
    """What rounds of several lengths may wait, worked out once for many loads."""

    def __init__(self, pool: Pool) -> None:
        spread = math.sqrt(math.log1p(pool.variation))
        works = (pool.service * math.exp(spread * z - spread * spread / 2) for z in _NORMAL)
        self._patience = [max(0.0, pool.limit - work) for work in works]
        self._late = max(pool.late - pool.hopeless, pool.late / 2)
        self._slope = 2 / (pool.service * (pool.burstiness + pool.variation))

    def allowed(self, load: float, replicas: float) -> bool:
        """Whether few enough are late by waiting. Who is late anyway counts if it has to wait at all."""
        waits: float = load ** (math.sqrt(2 * (replicas + 1)) - 1)
        decay = self._slope * replicas * (1 - load)
        late = math.fsum(math.exp(-decay * patience) for patience in self._patience) / _POINTS
        return waits * late <= self._late


@lru_cache(maxsize=4096)
def _load(pool: Pool, replicas: float) -> float:
    if pool.service >= pool.limit:
        return 0.0
    if pool.service <= 0:
        return MOST_LOAD
    waits = _Waits(pool)
    if waits.allowed(MOST_LOAD, replicas):
        return MOST_LOAD
    return largest(lambda load: waits.allowed(load, replicas), MOST_LOAD)


def largest(holds: Callable[[float], bool], most: float) -> float:
    """Largest x in 0..most at which a condition holds that, once broken, stays broken."""
    low, high = 0.0, most
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
