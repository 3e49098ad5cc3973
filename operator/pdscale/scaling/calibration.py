"""How far the profile is off, learned from the pace of engines: one factor for prefill and one for decode.

A profile is measured on another day, of another build, often on another server. Sized by it, a pool of
engines that are 30 % slower misses its objectives for as long as it lives. So the planner multiplies it by
what engines really take (`engine_paces`), one observation a step. Ours; that a planner corrects its
profile is Dynamo's idea.

    log f += w * clamp(x - log f, -log 1.5, log 1.5)
    w = max(1 - exp(-step / tau), 1 / (n + 4)) * min(1, rounds / 10)

- In logarithms, because a factor of 2 and one of 1/2 are equally far from right; bounded, as beyond 2 the
  profile is that of another engine and somebody should measure one.
- Slow, ``tau`` 3 minutes or a dozen steps of 15 s: an observation moves a factor by 3 % at most, be it a
  minute in which an engine hung. The first ``n`` count as in a mean in which the profile stands for three:
  by 11 % at most.
- A dead band: a factor is applied once it is 8 % off, less than the default tolerance, and from then on in
  steps of 2 %. Chance asks for no replica (a right one was learned as 0.96 to 1.01 in an hour and a half of
  code prompts), and a profile that is right is used as it is.
- *Held* where there is no data. Unlike a router's, a planner's factor cannot keep itself from being
  contradicted: whoever serves tells his pace. And engines are in the morning as they were at night.
- Forgotten when the profile or the engines change (``revision``); of changed engines only what is seen from
  then on counts. Nothing is stored: who begins anew learns from the history, which is read anyway.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.perf.profile import Profile
from pdscale.perf.scaled import rescaled
from pdscale.scaling.engine_paces import Ratios, ratios_of, tells
from pdscale.scaling.history import History
from pdscale.scaling.mix import LENGTHS_WINDOW

MOST: Final = 2.0
DEAD_BAND: Final = 0.08
NOTCH: Final = 0.02
TAU: Final[Seconds] = 180.0
PRIOR: Final = 3.0
ENOUGH_ROUNDS: Final = 10.0  # the mean of fewer is of their lengths more than of the engine
RELEARNED: Final[Seconds] = 1800.0  # ten times tau: what came before has faded
OUTLIER: Final = math.log(1.5)
BOUND: Final = math.log(MOST)
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Factors:
    """Engines take so many times what the profile says. 1 while nothing contradicts it."""

    prefill: float = 1.0
    decode: float = 1.0

    def of(self, role: Role) -> float:
        return self.prefill if role is Role.PREFILL else self.decode

    def applied_to(self, profile: Profile) -> Profile:
        return rescaled(profile, prefill=self.prefill, decode=self.decode)

    @property
    def at_bound(self) -> tuple[Role, ...]:
        """Roles whose engines may be further off than is believed."""
        return tuple(r for r in Role if abs(math.log(self.of(r))) >= BOUND - _ROUNDING)

    def __str__(self) -> str:
        """``engines take 1.28x the profile's decode steps``; empty where both are 1."""
        what = {Role.PREFILL: "prefills", Role.DECODE: "decode steps"}
        told = [f"{self.of(r):.2f}x the profile's {what[r]}" for r in Role if self.of(r) != 1]
        return f"engines take {' and '.join(told)}" if told else ""


@dataclass(slots=True)
class Learned:
    """The logarithm of one factor, the one that is applied, and how much was seen."""

    log_factor: float = 0.0
    applied: float = 0.0
    seen: float = 0.0

    def observe(self, ratio: float, *, step: Seconds, rounds: float) -> None:
        """``ratio`` times the prediction was seen in ``step`` seconds, in which so many rounds ended."""
        trust = min(1.0, rounds / ENOUGH_ROUNDS)
        if not (ratio > 0 and math.isfinite(ratio) and trust > 0):
            return
        self.seen += trust
        weight = trust * max(-math.expm1(-step / TAU), 1 / (self.seen + PRIOR))
        error = math.log(ratio) - self.log_factor
        moved = self.log_factor + weight * min(max(error, -OUTLIER), OUTLIER)
        self.log_factor = min(max(moved, -BOUND), BOUND)
        self._apply()

    def _apply(self) -> None:
        off = abs(self.log_factor - self.applied)
        if abs(self.log_factor) < NOTCH:
            self.applied = 0.0
        elif off > (NOTCH if self.applied else DEAD_BAND) or abs(self.log_factor) == BOUND:
            self.applied = self.log_factor


@dataclass(slots=True)
class Calibration:
    """One ServingDeployment's factors. ``learn`` from each history in turn."""

    _prefill: Learned = field(default_factory=Learned)
    _decode: Learned = field(default_factory=Learned)
    _of: tuple[Profile, str] | None = None
    _until: Seconds = -math.inf

    def learn(self, history: History, profile: Profile, *, revision: str = "") -> Factors | NoData:
        """Take in the samples that are new. ``revision`` tells engines of one build from those of others."""
        self._forget_others(profile, revision, history.request_rate.end)
        for past in _unseen(history, self._until):
            ratios = ratios_of(past, profile, prefill_factor=math.exp(self._prefill.log_factor))
            if ratios.prefill is None and ratios.decode is None:
                continue  # a late scrape may still tell
            self._until = past.request_rate.end
            self._take(ratios, past.request_rate.step)
        return self.factors

    @property
    def factors(self) -> Factors | NoData:
        if not self._prefill.seen + self._decode.seen:
            return NoData("no engine has told its pace")
        return Factors(math.exp(self._prefill.applied), math.exp(self._decode.applied))

    def _take(self, ratios: Ratios, step: Seconds) -> None:
        for learned, ratio in ((self._prefill, ratios.prefill), (self._decode, ratios.decode)):
            if ratio is not None:
                learned.observe(ratio, step=step, rounds=ratios.rounds)

    def _forget_others(self, profile: Profile, revision: str, now: Seconds) -> None:
        if self._of == (profile, revision):
            return
        others = self._of is not None and self._of[1] != revision
        self._prefill, self._decode = Learned(), Learned()
        self._until = now if others else -math.inf
        self._of = (profile, revision)


def _unseen(history: History, until: Seconds) -> list[History]:
    """For each newer sample in which an engine told its pace, oldest first, the past that ends with it and
    is long enough to know lengths."""
    rate = history.request_rate
    since = max(until, rate.end - RELEARNED)
    newer = (i for i in range(len(rate.values)) if rate.start + i * rate.step > since)
    return [history.ending(i, window=LENGTHS_WINDOW) for i in newer if tells(history, i)]
