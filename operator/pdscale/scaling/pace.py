"""How fast a pool may change: HorizontalPodAutoscaler's ``behavior``, per direction, as pure rules.

Source: Kubernetes' autoscaling/v2, whose words these are. A policy allows so many pods, or so many percent of
what there was when its period began, within its period; of several the most generous counts (``Max``), or the
strictest (``Min``), or the direction is closed (``Disabled``). What there was is the present count less what
was added since, or plus what was taken.

The past is what was seen at each decision, whoever changed it: a person's `kubectl scale` counts, and a
restarted operator allows one period's change anew, as Kubernetes' own controller does.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from pdscale.model.pools import Role, Targets
from pdscale.model.units import Seconds


class Unit(StrEnum):
    PODS = "Pods"
    PERCENT = "Percent"


class Select(StrEnum):
    """Which of several policies counts."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class PacePolicy:
    """At most ``value`` pods or percent within ``period_seconds``."""

    unit: Unit
    value: int
    period_seconds: Seconds

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"policies.value must be at least 1, got {self.value}")
        if not 0 < self.period_seconds <= 1800:
            raise ValueError(
                f"policies.periodSeconds must be above 0 and at most 1800, got {self.period_seconds}"
            )


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction. No policies: as fast as the plan wants."""

    policies: tuple[PacePolicy, ...] = ()
    select: Select = Select.MAX


@dataclass(frozen=True, slots=True)
class Behavior:
    scale_up: Rules = Rules()
    scale_down: Rules = Rules()

    @property
    def longest(self) -> Seconds:
        both = (*self.scale_up.policies, *self.scale_down.policies)
        return max((policy.period_seconds for policy in both), default=0.0)


@dataclass(slots=True)
class Pace:
    """Limits targets to what the behaviour allows now; remembers changes for as long as they count."""

    _last: Targets | None = None
    _changes: deque[tuple[Seconds, Role, int]] = field(default_factory=deque)

    def limit(self, wanted: Targets, behavior: Behavior, *, current: Targets, now: Seconds) -> Targets:
        """4 replicas, 2 of them added 10 s ago; at most 100 % in 15 s: began with 2, so 4 it stays."""
        self._see(current, now)
        while self._changes and self._changes[0][0] <= now - behavior.longest:
            self._changes.popleft()
        return Targets(*(self._allowed(role, wanted, behavior, current, now) for role in Role))

    def _see(self, current: Targets, now: Seconds) -> None:
        if self._last is not None:
            for role in Role:
                if change := current.of(role) - self._last.of(role):
                    self._changes.append((now, role, change))
        self._last = current

    def _allowed(
        self, role: Role, wanted: Targets, behavior: Behavior, current: Targets, now: Seconds
    ) -> int:
        have, want = current.of(role), wanted.of(role)
        up = want > have
        rules = behavior.scale_up if up else behavior.scale_down
        if want == have or not (rules.policies or rules.select is Select.DISABLED):
            return want
        if rules.select is Select.DISABLED:
            return have
        steps = [self._step(role, policy, have, up=up, now=now) for policy in rules.policies]
        step = max(steps) if rules.select is Select.MAX else min(steps)
        return min(want, have + step) if up else max(want, have - step)

    def _step(self, role: Role, policy: PacePolicy, have: int, *, up: bool, now: Seconds) -> int:
        """How many more may come or go within the policy's period."""
        since = now - policy.period_seconds
        changes = [count for at, of, count in self._changes if of is role and at > since]
        done = sum(count for count in changes if count > 0) if up else -sum(c for c in changes if c < 0)
        began = have - done if up else have + done
        share = began * policy.value / 100
        most = policy.value if policy.unit is Unit.PODS else math.ceil(share) if up else math.floor(share)
        return max(0, most - done)
