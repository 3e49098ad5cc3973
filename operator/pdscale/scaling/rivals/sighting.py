"""What every rule here may look at, and the limits that bind each alike.

A rule gets what a scrape of engines and routers would give it, so none has an advantage by what it sees. It
speaks in targets for the whole fleet; ``None`` means that it has no opinion, which changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.plan import Plan
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Role, Targets
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale.scaling.history import History
from pdscale.scaling.limits import within_bounds, within_budget


class Sighting(Protocol):
    """The fleet at one instant.

    ``busy`` is the share of its ready replicas' time that a role computed since the last look,
    ``past(window)`` the rates and lengths of so many seconds.
    """

    @property
    def prefill(self) -> PoolState: ...

    @property
    def decode(self) -> PoolState: ...

    @property
    def view(self) -> ClusterView: ...

    @property
    def busy(self) -> Mapping[Role, float]: ...

    @property
    def past(self) -> Callable[[Seconds], History | NoData]: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and budget of a comparison: what no rule may leave."""

    prefill: Bounds
    decode: Bounds
    gpus: GpusPerReplica
    budget: int

    def bounds(self, role: Role) -> Bounds:
        return self.prefill if role is Role.PREFILL else self.decode

    def fit(self, wanted: Targets) -> Targets:
        plan = within_bounds(Plan(wanted), prefill=self.prefill, decode=self.decode)
        return within_budget(
            plan, prefill=self.prefill, decode=self.decode, gpus=self.gpus, budget=self.budget
        ).targets


def current(seen: Sighting) -> Targets:
    return Targets(seen.prefill.desired, seen.decode.desired)


def pool(seen: Sighting, role: Role) -> PoolState:
    return seen.prefill if role is Role.PREFILL else seen.decode


def at_work(seen: Sighting, role: Role) -> Sequence[Endpoint]:
    """Replicas of a role that take new rounds."""
    return [e for e in seen.view.endpoints if e.role is role and e.takes_new_work]


def recent(seen: Sighting, window: Seconds) -> Workload | NoData:
    """Rate and lengths of the last ``window`` seconds; no data while no round has ended in it."""
    past = seen.past(window)
    return past if isinstance(past, NoData) else past.workload(window=window)


def mean(figures: Sequence[float | None]) -> float | None:
    known = [f for f in figures if f is not None]
    return sum(known) / len(known) if known else None
