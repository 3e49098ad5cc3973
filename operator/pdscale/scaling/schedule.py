"""Hours of the week for which a pool has more replicas at least than at other times.

For what no forecast can know: a launch, a course that begins at nine, a model that must answer at once on
Monday. A floor applies a lead time before its hours begin, so that its replicas are ready when they do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

from pdscale.model.pools import Bounds, GpusPerReplica, Role, Targets
from pdscale.model.units import Seconds


@dataclass(frozen=True, slots=True)
class Schedule:
    """At least ``least`` replicas on ``days`` (0: Monday) from ``start`` to ``end`` by the clock of ``zone``.

    Hours that end when they begin, or before, end on the next day.
    """

    least: Targets
    start: time
    end: time
    zone: ZoneInfo
    days: frozenset[int] = frozenset(range(7))

    def holds(self, at: Seconds) -> bool:
        """Whether ``at`` (epoch seconds) is within its hours."""
        there = datetime.fromtimestamp(at, self.zone)
        clock, today, yesterday = there.time(), there.weekday(), (there.weekday() - 1) % 7
        if self.start < self.end:
            return today in self.days and self.start <= clock < self.end
        return (today in self.days and clock >= self.start) or (yesterday in self.days and clock < self.end)


def floor_of(role: Role, schedules: Sequence[Schedule], *, now: Seconds, lead: Seconds) -> int:
    """The highest of the floors that apply now or will when what is started now is ready; 0 without any."""
    asked = (s.least.of(role) for s in schedules if s.holds(now) or s.holds(now + lead))
    return max(asked, default=0)


def raised(floor: Targets, *, prefill: Bounds, decode: Bounds, gpus: GpusPerReplica, budget: int) -> Targets:
    """Minimums of both pools with the floor in force, within their maximums and the budget.

    Two schedules may ask for more together than the budget holds: then the larger holder yields, but never
    below its own minimum.
    """
    bounds = {Role.PREFILL: prefill, Role.DECODE: decode}
    least = {role: bounds[role].clamp(floor.of(role)) for role in Role}
    while sum(gpus.of(role) * least[role] for role in Role) > budget:
        above = [role for role in Role if least[role] > bounds[role].least]
        if not above:
            break
        least[max(above, key=lambda role: gpus.of(role) * least[role])] -= 1
    return Targets(least[Role.PREFILL], least[Role.DECODE])
