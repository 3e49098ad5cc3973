"""Replicas come, drain, change roles, fail and go; and what that costs.

Who goes when a pool shrinks: those that are not ready yet, then the youngest, as a ReplicaSet chooses. A
draining replica gets no new rounds and goes with its last one; all states but gone hold GPUs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from pdscale.model.pools import PoolState, Role, Targets
from pdscale.model.units import Seconds
from pdscale.placement.correction import Correction
from pdscale.placement.policy import PlacementPolicy
from pdscale.sim.agenda import CONTROL, Agenda
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.prefill import PrefillEngine
from pdscale.sim.records import FleetRecord, FleetRow
from pdscale.sim.request import Request
from pdscale.sim.scenario import Fleet as Plan

E = TypeVar("E", DecodeEngine, PrefillEngine)
ANOTHER = {Role.PREFILL: Role.DECODE, Role.DECODE: Role.PREFILL}


class State(Enum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(slots=True, eq=False)
class Replica(Generic[E]):
    """``rounds`` are those that it may not go before. It is in its
    state ``since`` an instant. ``flips``: it will be of the other role when it is gone."""

    name: str
    number: int
    role: Role
    engine: E
    correction: Correction
    policy: PlacementPolicy
    state: State = State.STARTING
    since: Seconds = 0.0
    flips: bool = False
    rounds: dict[Request, None] = field(default_factory=dict)


AnyReplica = Replica[DecodeEngine] | Replica[PrefillEngine]


@dataclass(frozen=True, slots=True)
class Builders:
    """How a replica of each role is made, from its name and number."""

    prefill: Callable[[str, int], Replica[PrefillEngine]]
    decode: Callable[[str, int], Replica[DecodeEngine]]


class Fleet:
    """``prefill`` and ``decode`` are the replicas not yet gone, by name. ``changed`` is told of changes."""

    def __init__(
        self,
        plan: Plan,
        agenda: Agenda,
        record: FleetRecord,
        builders: Builders,
        changed: Callable[[], None],
    ) -> None:
        self.prefill: dict[str, Replica[PrefillEngine]] = {}
        self.decode: dict[str, Replica[DecodeEngine]] = {}
        self._plan, self._agenda, self._record = plan, agenda, record
        self._builders, self._tell = builders, changed
        self._number = 0
        self._warm, self._warming = plan.standby, 0
        self._accounted: Seconds = 0.0
        for role, count in ((Role.PREFILL, plan.prefill), (Role.DECODE, plan.decode)):
            for _ in range(count):
                self._new(role).state = State.READY
        self._changed()

    def of(self, role: Role) -> list[AnyReplica]:
        return list(self.prefill.values()) if role is Role.PREFILL else list(self.decode.values())

    def ready(self, role: Role) -> list[AnyReplica]:
        return [r for r in self.of(role) if r.state is State.READY]

    def pool(self, role: Role) -> PoolState:
        states = [r.state for r in self.of(role)]
        flipping = sum(r.flips for r in self.of(ANOTHER[role]))
        ready, starting = states.count(State.READY), states.count(State.STARTING) + flipping
        return PoolState(
            desired=ready + starting,
            ready=ready,
            starting=starting,
            terminating=states.count(State.DRAINING) - sum(r.flips for r in self.of(role)),
        )

    def computed(self) -> tuple[int, int]:
        """Prompt tokens that decode and prefill replicas have computed, those that are gone included."""
        here, there = (
            self._record.computed[role] + sum(r.engine.computed for r in self.of(role))
            for role in (Role.DECODE, Role.PREFILL)
        )
        return here, there

    def streams(self) -> tuple[int, int]:
        """Rounds on decode engines and on prefill replicas, waiting ones included."""
        decode = sum(r.engine.running + r.engine.waiting for r in self.decode.values())
        return decode, sum(r.engine.legs for r in self.prefill.values())

    def resize(self, targets: Targets) -> None:
        """Flips first, then what else has to go, then what else has to come.

        Who is to flip and has not yet drained stays what it is, if its old role wants it back.
        """
        missing = {role: targets.of(role) - self.pool(role).desired for role in Role}
        self._record.changes += sum(1 for count in missing.values() if count)
        if self._plan.flip is not None:
            for role in Role:
                other = ANOTHER[role]
                kept = self._call_back(role, min(missing[role], -missing[other]))
                missing[role] -= kept
                missing[other] += kept
                count = max(0, min(missing[role], -missing[other], len(self.ready(other))))
                for replica in self._quickest(self.ready(other), count):
                    replica.flips = True
                    self._drain(replica)
                missing[role] -= count
                missing[other] += count
        for role, count in missing.items():
            self._shrink(role, -count)
        for role, count in missing.items():
            for _ in range(count):
                self._start(role)
        self._changed()

    def _call_back(self, role: Role, count: int) -> int:
        leaving = [r for r in self.of(role) if r.flips][: max(0, count)]
        for replica in leaving:
            replica.flips, replica.state = False, State.READY
        return len(leaving)

    def may_go(self, replica: AnyReplica) -> None:
        """One of its rounds is over; if it was the last of a draining replica, that goes."""
        if replica.state is State.DRAINING and not replica.rounds:
            self._leave(replica)
            self._changed()

    def failed(self, replica: AnyReplica) -> None:
        """It is gone at once; its pod is replaced, unless it was to go anyway."""
        replaced = replica.state is not State.DRAINING or replica.flips
        role = ANOTHER[replica.role] if replica.flips else replica.role
        replica.flips = False
        self._leave(replica)
        if replaced:
            self._start(role)
        self._changed()

    def account(self) -> None:
        """Book the time since the last change."""
        now = self._agenda.now
        elapsed, self._accounted = now - self._accounted, now
        for role in Role:
            held = len(self.of(role)) * elapsed
            self._record.replica_seconds[role] += held
            self._record.gpu_seconds[role] += held * self._plan.gpus.of(role)
        standby = (self._warm + self._warming) * self._plan.gpus.decode
        self._record.standby_gpu_seconds += standby * elapsed

    def close(self) -> None:
        """The run is over: what is still there has its work counted."""
        self.account()
        for role in Role:
            for replica in self.of(role):
                self._count(replica)

    def _new(self, role: Role) -> AnyReplica:
        self._number += 1
        name = f"{role}-{self._number:06d}"
        if role is Role.PREFILL:
            prefill = self.prefill[name] = self._builders.prefill(name, self._number)
            return prefill
        decode = self.decode[name] = self._builders.decode(name, self._number)
        return decode

    def _start(self, role: Role, after: Seconds | None = None) -> None:
        self.account()
        if after is None:
            after = self._plan.start_up
            if self._warm:
                self._warm, self._warming, after = (
                    self._warm - 1,
                    self._warming + 1,
                    self._plan.standby_start_up,
                )
                self._agenda.at(self._agenda.now + self._plan.start_up, CONTROL, self._warmed, None)
        self._agenda.at(self._agenda.now + after, CONTROL, self._started, self._new(role))

    def _warmed(self, _: None) -> None:
        self._warm, self._warming = self._warm + 1, self._warming - 1

    def _started(self, replica: AnyReplica) -> None:
        if replica.state is State.STARTING:
            replica.state, replica.since = State.READY, self._agenda.now
            self._changed()

    def _shrink(self, role: Role, count: int) -> None:
        """Who does not serve yet goes first: who was to come from the other role drains and goes for good."""
        for replica in [r for r in self.of(ANOTHER[role]) if r.flips][: max(0, count)]:
            replica.flips = False
            count -= 1
        for replica in self._youngest([r for r in self.of(role) if r.state is State.STARTING], count):
            self._leave(replica)
            count -= 1
        for replica in self._youngest(self.ready(role), count):
            self._drain(replica)

    def _youngest(self, replicas: list[AnyReplica], count: int) -> list[AnyReplica]:
        return sorted(replicas, key=lambda r: -r.number)[: max(0, count)]

    def _quickest(self, replicas: list[AnyReplica], count: int) -> list[AnyReplica]:
        """A change of role is a label, so who chooses may take those that drain soonest."""
        return sorted(replicas, key=lambda r: (len(r.rounds), -r.number))[: max(0, count)]

    def _drain(self, replica: AnyReplica) -> None:
        replica.state = State.DRAINING
        if not replica.rounds:
            self._leave(replica)

    def _leave(self, replica: AnyReplica) -> None:
        self.account()
        replica.state = State.GONE
        self._count(replica)
        self.prefill.pop(replica.name, None)
        self.decode.pop(replica.name, None)
        if replica.flips:
            replica.flips = False
            self._start(ANOTHER[replica.role], self._plan.flip)

    def _count(self, replica: AnyReplica) -> None:
        engine, record = replica.engine, self._record
        record.busy[replica.role] += engine.busy
        record.computed[replica.role] += engine.computed
        if isinstance(engine, DecodeEngine):
            record.generated += engine.tally.generated
            record.preemptions += engine.tally.preemptions
            record.evicted_tokens += engine.memory.evicted

    def _changed(self) -> None:
        self.account()
        now, standby = self._agenda.now, self._warm + self._warming
        row = FleetRow(now, *self._states(Role.PREFILL), *self._states(Role.DECODE), standby)
        if self._record.rows and self._record.rows[-1].at == row.at:
            self._record.rows.pop()
        self._record.rows.append(row)
        self._tell()

    def _states(self, role: Role) -> tuple[int, int, int]:
        states = [r.state for r in self.of(role)]
        return states.count(State.READY), states.count(State.STARTING), states.count(State.DRAINING)
