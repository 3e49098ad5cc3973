"""kthena's disaggregated target: a reactive rule per role, then the ratio P/D is put back into its band.

Source: kthena 1.0 AutoscalingPolicy (``disaggregatedTarget.ratioConstraint``), restated from its
documentation. The band is set by hand there; who builds this gives one around the ratio that the fleet
begins with. Metrics and targets are those of ``HPA``. At twice the target it panics: no limit on growth,
and nothing shrinks for 60 s. Ratio: the deficient role is raised; only when it stands at its maximum, the
other is lowered; when one side is zero it becomes one; both may be zero."""

import math
from dataclasses import dataclass
from typing import Final

from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds
from pdscale.scaling.rivals.hpa import by_ratio, grown_at_most, requests_per_replica
from pdscale.scaling.rivals.sighting import Limits, Sighting, current, pool

PANIC: Final = 2.0
PANIC_HOLD: Final[Seconds] = 60.0


@dataclass(frozen=True, slots=True)
class Band:
    """Least and most prefill replicas per decode replica."""

    least: float
    most: float

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most:
            raise ValueError(f"ratio band needs 0 < least <= most, got {self.least} and {self.most}")


def repaired(wanted: Targets, band: Band, limits: Limits) -> Targets:
    """Band 0.5 to 1: 1P+4D becomes 2P+4D; with at most one prefill replica 1P+2D."""
    p, d = wanted.prefill, wanted.decode
    if not p and not d:
        return wanted
    p, d = max(1, p), max(1, d)
    if p < band.least * d:
        p = min(limits.prefill.most, math.ceil(band.least * d - 1e-9))
        d = min(d, max(1, math.floor(p / band.least + 1e-9)))
    elif p > band.most * d:
        d = min(limits.decode.most, math.ceil(p / band.most - 1e-9))
        p = min(p, max(1, math.floor(d * band.most + 1e-9)))
    return Targets(p, d)


@dataclass(slots=True)
class Kthena:
    limits: Limits
    band: Band
    streams: float
    busy: float = 0.7
    interval: Seconds = 15.0
    step: Seconds = 15.0
    _panic_until: Seconds = 0.0

    def decide(self, seen: Sighting, now: Seconds) -> Targets | None:
        usage = {
            Role.PREFILL: seen.busy[Role.PREFILL] / self.busy,
            Role.DECODE: requests_per_replica(seen) / self.streams,
        }
        if max(usage.values()) >= PANIC:
            self._panic_until = now + PANIC_HOLD
        panic, wanted = now < self._panic_until, {}
        for role in Role:
            state = pool(seen, role)
            asked = by_ratio(state, usage[role])
            wanted[role] = max(asked, state.desired) if panic else grown_at_most(state, asked)
        fitting = self.limits.fit(Targets(wanted[Role.PREFILL], wanted[Role.DECODE]))
        found = self.limits.fit(repaired(fitting, self.band, self.limits))
        return found if found != current(seen) else None
