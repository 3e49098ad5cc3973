"""What remains of a run: columns, one entry per round of the traffic."""

import math
from array import array
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.policy import Kind, PlacementReason
from pdscale.sim.request import Request
from pdscale.sim.traffic import Traffic

REASONS: Final = tuple(PlacementReason)
_CODE: Final = {reason: code for code, reason in enumerate(REASONS)}
_LOCAL: Final = Kind.LOCAL
NONE: Final = -1


class Outcome(IntEnum):
    """What became of a round. Only served ones can have met an objective."""

    UNFINISHED = 0  # the run ended before it did
    SERVED = 1
    REFUSED = 2  # no replica, or a full queue
    TOO_LONG = 3  # more tokens than one decode replica's memory holds
    CUT = 4  # its decode replica failed while it answered


class FleetRow(NamedTuple):
    """Replicas from ``at`` on. Those that flip count as draining until they are their new role's starting."""

    at: Seconds
    prefill_ready: int
    prefill_starting: int
    prefill_draining: int
    decode_ready: int
    decode_starting: int
    decode_draining: int
    standby: int


@dataclass(slots=True)
class FleetRecord:
    """GPU seconds count every replica that is not gone. ``busy`` is replica time spent computing."""

    rows: list[FleetRow] = field(default_factory=list)
    gpu_seconds: dict[Role, float] = field(default_factory=lambda: dict.fromkeys(Role, 0.0))
    standby_gpu_seconds: float = 0.0
    replica_seconds: dict[Role, float] = field(default_factory=lambda: dict.fromkeys(Role, 0.0))
    busy: dict[Role, float] = field(default_factory=lambda: dict.fromkeys(Role, 0.0))
    computed: dict[Role, int] = field(default_factory=lambda: dict.fromkeys(Role, 0))
    generated: int = 0
    changes: int = 0
    preemptions: int = 0
    evicted_tokens: int = 0

    @property
    def gpu_hours(self) -> float:
        return (sum(self.gpu_seconds.values()) + self.standby_gpu_seconds) / 3600


class Result:
    """Instants are virtual seconds, NaN where something did not come to be.

    ``limit`` is the round's TTFT limit. ``slow_gaps`` of its ``output - 1`` gaps between tokens were above
    the TPOT limit. ``computed`` are prompt tokens that replicas computed for it, ``reused`` those that it
    found in its history, ``moved`` tokens whose KV travelled. ``local`` is 1, 0, or ``NONE`` for a round
    that was never placed; ``reason`` an index into ``REASONS``, after any fallback. ``decode`` and
    ``prefill`` are numbers of replicas.
    """

    __slots__ = (
        "arrived",
        "computed",
        "decode",
        "ended_at",
        "finished",
        "first_token",
        "fleet",
        "limit",
        "local",
        "moved",
        "moved_tokens",
        "outcome",
        "prefill",
        "reason",
        "reused",
        "seed",
        "slow_gaps",
        "traffic",
    )

    def __init__(self, traffic: Traffic, seed: int) -> None:
        rounds = len(traffic)
        self.traffic, self.seed = traffic, seed
        self.arrived, self.first_token, self.finished, self.limit = (
            array("d", [math.nan]) * rounds for _ in range(4)
        )
        self.slow_gaps, self.computed, self.reused, self.moved = (array("q", [0]) * rounds for _ in range(4))
        self.outcome = array("b", [Outcome.UNFINISHED]) * rounds
        self.local, self.reason = (array("b", [NONE]) * rounds for _ in range(2))
        self.decode, self.prefill = (array("i", [NONE]) * rounds for _ in range(2))
        self.fleet = FleetRecord()
        self.moved_tokens = 0
        self.ended_at: Seconds = 0.0

    def placed(self, request: Request, kind: Kind, reason: PlacementReason) -> None:
        self.local[request.index] = kind is _LOCAL
        self.reason[request.index] = _CODE[reason]

    def close(self, request: Request, outcome: Outcome, at: Seconds) -> None:
        i = request.index
        self.first_token[i] = request.first_token
        self.finished[i] = at
        self.slow_gaps[i] = request.slow
        self.computed[i] = request.computed
        self.moved[i] = request.moved
        self.outcome[i] = outcome

    def ttft(self, i: int) -> Seconds:
        return self.first_token[i] - self.arrived[i]

    def tpot(self, i: int) -> Seconds | None:
        """Mean time per output token after the first; ``None`` for answers of one token."""
        gaps = self.traffic.output[i] - 1
        return (self.finished[i] - self.first_token[i]) / gaps if gaps > 0 else None
