"""What a placement policy is asked, and what it answers.

A round's prefill runs on the decode replica that owns the session (*local*) or on a prefill
replica, whose KV is then moved (*remote*). The decode replica is settled before (``binding``), so
local is always possible and a policy always answers; having no decode replica at all is ``Busy``,
and is found out before a policy is asked.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.units import Seconds, Tokens


class Kind(StrEnum):
    LOCAL = "local"
    REMOTE = "remote"


class PlacementReason(StrEnum):
    """Why a round's prefill ran where it did. They end up as a metric label."""

    # By slack: AMPD's gates, and CostBased when both sides are in time.
    PREFILL_SLACK = "PrefillSlack"
    DECODE_SLACK = "DecodeSlack"
    # Nobody has slack (AMPD), or nobody is in time (CostBased).
    CHEAPER_LOCAL = "CheaperLocal"
    CHEAPER_REMOTE = "CheaperRemote"
    # CostBased, when one side only will do.
    DEADLINE_LOCAL = "DeadlineLocal"
    DEADLINE_REMOTE = "DeadlineRemote"
    DEFLECTED = "Deflected"  # a first round that the prefill replicas would answer too late
    NO_SLACK = "NoSlack"  # the decode replica's streams could not bear it
    # By a fixed rule.
    POLICY_ALWAYS_LOCAL = "PolicyAlwaysLocal"
    POLICY_ALWAYS_REMOTE = "PolicyAlwaysRemote"
    THRESHOLD = "Threshold"
    FIRST_ROUND = "FirstRound"
    PINNED = "Pinned"
    TABLE = "Table"
    # Whatever the policy.
    NAMED_BY_HEADER = "NamedByHeader"  # whoever sent the request has chosen the prefill replica
    NO_PREFILL_REPLICA = "NoPrefillReplica"
    ENGINE_ALWAYS_REMOTE = "EngineAlwaysRemote"  # the engine's decode replicas cannot prefill
    NOT_SPLITTABLE = "NotSplittable"  # the request cannot be cut into a prefill and a decode leg
    PREFILL_FAILED = "PrefillFailed"
    TRANSFER_FAILED = "TransferFailed"


class BusyReason(StrEnum):
    """Why a request is refused. None of them is a fault of the request."""

    NO_DECODE_REPLICA = "NoDecodeReplica"
    NO_PREFILL_REPLICA = "NoPrefillReplica"  # where decode replicas cannot prefill
    DRAINING = "Draining"
    WRONG_ROLE = "WrongRole"
    QUEUE_FULL = "QueueFull"
    OVERLOADED = "Overloaded"  # a new session while every replica's memory is full and requests wait for it
    TOO_LATE = "TooLate"  # it would miss its deadline; answered at once instead of in vain


@dataclass(frozen=True, slots=True)
class Busy:
    """Nobody can take the request now; the client may try again."""

    reason: BusyReason
    status: int = 503


@dataclass(frozen=True, slots=True)
class Round:
    """One request of a session, as far as placement cares.

    ``history`` tokens of KV lie on the decode replica, ``increment`` tokens are new. When the history cannot
    be read by another replica (``history_moves`` is false), a remote prefill computes it again.
    ``waited`` is how long ago the request arrived. ``prefiller`` is the prefill replica that somebody chose
    before the request came here.
    """

    session: str
    history: Tokens
    increment: Tokens
    history_moves: bool = True
    waited: Seconds = 0.0
    prefiller: str | None = None

    def __post_init__(self) -> None:
        if self.history >= 0 and self.increment >= 0 and self.waited >= 0:
            return
        for name in ("history", "increment", "waited"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"round.{name} must be at least 0, got {getattr(self, name)}")

    @property
    def remote_work(self) -> tuple[Tokens, Tokens]:
        """(new, history) tokens of the forward pass on a prefill replica."""
        if self.history_moves:
            return self.increment, self.history
        return self.increment + self.history, 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the prefill runs: ``endpoint`` is the prefill replica, or the decode replica if local.

    ``predicted`` is the time to the first token by the profile alone, from a policy that predicts one:
    what ``Correction.observe`` wants to hear beside the time that it took.
    """

    kind: Kind
    endpoint: Endpoint
    reason: PlacementReason
    predicted: Seconds | None = None


def local(decode: Endpoint, reason: PlacementReason, predicted: Seconds | None = None) -> Placement:
    return Placement(Kind.LOCAL, decode, reason, predicted)


def remote(prefill: Endpoint, reason: PlacementReason, predicted: Seconds | None = None) -> Placement:
    return Placement(Kind.REMOTE, prefill, reason, predicted)


class PlacementPolicy(Protocol):
    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement: ...
