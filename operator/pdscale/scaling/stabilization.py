"""What keeps a plan from following noise: a tolerance, and a window before anything shrinks."""

from collections import deque
from dataclasses import dataclass, field

from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds
from pdscale.scaling.demand import Demand


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


@dataclass(slots=True)
class DownscaleWindow:
    """Scale down only to the highest target seen within the window.

    A window that has just been opened (the operator restarted) starts with what is there, so a restart
    never shortens the wait.
    """

    seconds: Seconds
    _seen: deque[tuple[Seconds, Targets]] = field(default_factory=deque)

    def hold(self, plan: Plan, *, current: Targets, now: Seconds) -> Plan:
        if not self._seen:
            self._seen.append((now, current))
        self._seen.append((now, plan.targets))
        while self._seen[0][0] < now - self.seconds:
            self._seen.popleft()
        highest = Targets(
            max(min(current.prefill, max(t.prefill for _, t in self._seen)), plan.targets.prefill),
            max(min(current.decode, max(t.decode for _, t in self._seen)), plan.targets.decode),
        )
        return plan.then(Reason.SCALE_DOWN_HELD, highest, f"highest of {self.seconds:g}s")
