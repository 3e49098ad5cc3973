"""What keeps a plan from following noise: a tolerance, a second look at growth, and a hold before anything
shrinks."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds
from pdscale.scaling.demand import Demand


@dataclass(frozen=True, slots=True)
class Holds:
    """How long a replica of each role is kept that is not needed."""

    prefill: Seconds
    decode: Seconds

    def of(self, role: Role) -> Seconds:
        return self.prefill if role is Role.PREFILL else self.decode

    def __str__(self) -> str:
        if self.prefill == self.decode:
            return f"{self.prefill:g}s"
        return f"{self.prefill:.0f}s for prefill, {self.decode:.0f}s for decode"


def tolerate(plan: Plan, demand: Demand, *, current: Targets, tolerance: float) -> Plan:
    """Do not add a replica for an excess within the tolerance.

    Tolerance 0.1, 3 replicas, demand 3.2: stays 3, each carries 7 % more than planned.
    """
    kept = {
        role: current.of(role)
        if plan.targets.of(role) > current.of(role) > 0
        and demand.of(role) <= current.of(role) * (1 + tolerance)
        else plan.targets.of(role)
        for role in Role
    }
    targets = Targets(kept[Role.PREFILL], kept[Role.DECODE])
    return plan.then(Reason.WITHIN_TOLERANCE, targets, f"tolerance {tolerance:g}")


def settle(plan: Plan, demand: Demand, *, current: Targets, tolerance: float) -> Plan:
    """Where nothing carries the whole demand, do not rearrange the fleet for a gain within the tolerance.

    The best pair carries 88 %, the present one 82 %: 7 % more, less than a drain takes away meanwhile. A pair
    that only grows drains nothing: an SLO that is missed gets all that the budget allows.
    """
    if all(plan.targets.of(role) >= current.of(role) for role in Role):
        return plan
    best, present = demand.carried_by(plan.targets), demand.carried_by(current)
    if present * (1 + tolerance) < best:
        return plan
    return plan.then(Reason.WITHIN_TOLERANCE, current, f"carries {present:.0%}, {best:.0%} at best")


@dataclass(slots=True)
class Confirmation:
    """Grow as far as two decisions in a row ask for, or at once where a role's load is known to have risen.

    A forecast may follow the latest sample, and 15 s of 6/s are 10 % off: now and then it asks for a replica
    that the next sample does not ask for, and that is there for a start-up and a hold. Whoever has not
    decided yet has nobody to ask, so a restart never grows less.
    """

    _asked: Targets | None = None

    def confirm(self, plan: Plan, *, current: Targets, at_once: Collection[Role]) -> Plan:
        asked, before = plan.targets, self._asked or plan.targets
        self._asked = asked
        agreed = {r: min(asked.of(r), max(before.of(r), current.of(r))) for r in Role}
        targets = Targets(*(asked.of(r) if r in at_once else agreed[r] for r in Role))
        return plan.then(Reason.WITHIN_TOLERANCE, targets, "growth that was not asked for before")


@dataclass(slots=True)
class DownscaleWindow:
    """Scale down only to the highest target seen within the window, or within each role's hold.

    A window that has just been opened (the operator restarted) starts with what is there, so a restart
    never shortens the wait.
    """

    seconds: Seconds | Holds
    _seen: deque[tuple[Seconds, Targets]] = field(default_factory=deque)

    @property
    def holds(self) -> Holds:
        return self.seconds if isinstance(self.seconds, Holds) else Holds(self.seconds, self.seconds)

    def hold(self, plan: Plan, *, current: Targets, now: Seconds) -> Plan:
        holds = self.holds
        if not self._seen:
            self._seen.append((now, current))
        self._seen.append((now, plan.targets))
        while self._seen[0][0] < now - max(holds.prefill, holds.decode):
            self._seen.popleft()
        targets = Targets(*(self._held(role, plan.targets, current, now) for role in Role))
        return plan.then(Reason.SCALE_DOWN_HELD, targets, f"highest of {holds}")

    def _held(self, role: Role, wanted: Targets, current: Targets, now: Seconds) -> int:
        since = now - self.holds.of(role)
        highest = max(t.of(role) for at, t in self._seen if at >= since)
        return max(min(current.of(role), highest), wanted.of(role))
