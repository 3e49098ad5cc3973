"""Who says how many replicas there should be, and what it gets to see.

A baseline is a class with ``interval``, ``step`` and ``decide``. The live `Autoscaler` is plugged in by
``LiveScaler``, with the observation that the operator would make of the same instant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pdscale.model.cluster import ClusterView
from pdscale.model.pools import PoolState, Role, Targets
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.scaling.autoscaler import Autoscaler, Decision, Observation
from pdscale.scaling.history import History
from pdscale.scaling.policy import Policy


@dataclass(frozen=True, slots=True)
class Seen:
    """The fleet at one instant. ``past(window)`` is the history of so many seconds, on the scaler's ``step``.

    ``view`` has loads of this instant. ``busy`` is the share of its ready replicas' time that a role computed
    since the last look, ``rounds`` are under way, ``unanswered`` of them without a first token.
    """

    prefill: PoolState
    decode: PoolState
    view: ClusterView
    busy: Mapping[Role, float]
    rounds: int
    unanswered: int
    past: Callable[[Seconds], History | NoData]

    @property
    def targets(self) -> Targets:
        return Targets(self.prefill.desired, self.decode.desired)


class Scaler(Protocol):
    """Asked every ``interval`` seconds, the first time after one of them. ``step`` is the history's."""

    @property
    def interval(self) -> Seconds: ...

    @property
    def step(self) -> Seconds: ...

    def decide(self, seen: Seen, now: Seconds) -> Targets | None:
        """What there should be from now on; ``None`` changes nothing."""
        ...


@dataclass(slots=True)
class LiveScaler:
    """The operator's `Autoscaler`. ``last`` is its last decision, for who wants to print its trail."""

    autoscaler: Autoscaler
    policy: Policy
    last: Decision | None = None

    @property
    def interval(self) -> Seconds:
        return self.policy.interval

    @property
    def step(self) -> Seconds:
        return self.policy.step

    def decide(self, seen: Seen, now: Seconds) -> Targets | None:
        observation = Observation(seen.prefill, seen.decode, seen.past(self.policy.history))
        self.last = self.autoscaler.decide(self.policy, observation, now)
        return self.last.apply
