"""Everything about a run but its traffic and its seed, as one frozen value."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from pdscale.model.pools import GpusPerReplica, Role
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.admission import Admission
from pdscale.placement.baselines import AlwaysRemote
from pdscale.placement.binding import Bindings
from pdscale.placement.correction import Correction
from pdscale.placement.ordering import FCFS, Sorted
from pdscale.placement.policy import PlacementPolicy
from pdscale.sim.limits import EngineSetup
from pdscale.sim.scaler import Scaler


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many replicas there are at the beginning, all ready, and what a change takes.

    Of ``standby`` replicas the weights are loaded: one of them serves either role after
    ``standby_start_up``, while another takes its place after ``start_up``. They hold GPUs, of a decode
    replica's number. With ``flip``, a replica that one pool gives and the other wants changes its role that
    long after it has drained.
    """

    prefill: int
    decode: int
    gpus: GpusPerReplica = field(default_factory=lambda: GpusPerReplica(1, 1))
    start_up: Seconds = 60.0
    standby: int = 0
    standby_start_up: Seconds = 5.0
    flip: Seconds | None = None

    def __post_init__(self) -> None:
        for name in ("prefill", "decode", "start_up", "standby", "standby_start_up"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"fleet.{name} must be at least 0, got {getattr(self, name)}")
        if self.flip is not None and self.flip < 0:
            raise ValueError(f"fleet.flip must be at least 0s, got {self.flip}s")


@dataclass(frozen=True, slots=True)
class Fault:
    """At ``at`` the ``which``-th ready replica by name dies, counted round; none if none is ready."""

    at: Seconds
    role: Role
    which: int = 0


def _remote(_: Correction) -> PlacementPolicy:
    return AlwaysRemote()


def _fcfs() -> Admission:
    return Admission(Sorted(FCFS()))


def _bindings() -> Bindings:
    return Bindings(capacity=1_000_000)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Policies come as factories, since they learn: one ``placement`` with its ``Correction`` per decode
    replica, one ``admission`` per prefill replica, one of the others per run.

    The limit on a round's TTFT is ``slo.ttft`` or ``ttft_stretch`` times what its prefill takes on an idle
    replica, whichever is more; policies know the former, queues the deadline. ``pool_tokens`` is the KV
    pool's size (0: there is none). ``load_age`` is how old the load of another replica may be that a policy
    sees; live, a peer speaks with each answer and is asked after a second of silence, by a loop of half a
    second. With ``load_asking`` prefill replicas are asked before a round is placed, as live. ``overhead``
    is spent before a round is placed. ``gate_seconds`` is what prefill gates think a leg takes: the prefill
    model's word unless given.
    """

    fleet: Fleet
    prefill: EngineSetup
    decode: EngineSetup
    slo: SLO
    placement: Callable[[Correction], PlacementPolicy] = _remote
    admission: Callable[[], Admission] = _fcfs
    bindings: Callable[[], Bindings] = _bindings
    scaler: Callable[[], Scaler] | None = None
    faults: tuple[Fault, ...] = ()
    history_moves: bool = True
    pool_tokens: float = 0.0
    load_age: Seconds = 1.5
    load_asking: bool = True
    ttft_stretch: float = 0.0
    overhead: Seconds = 0.0
    gate_seconds: Callable[[Tokens, Tokens], Seconds] | None = field(default=None)

    def __post_init__(self) -> None:
        for name in ("pool_tokens", "load_age", "ttft_stretch", "overhead"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"scenario.{name} must be at least 0, got {getattr(self, name)}")
        for fault in self.faults:
            if not 0 <= fault.at < math.inf:
                raise ValueError(f"fault.at must be at least 0s and finite, got {fault.at}s")
