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

    PREFILL_SLACK = "PrefillSlack"
    DECODE_SLACK = "DecodeSlack"
    CHEAPER_LOCAL = "CheaperLocal"
    CHEAPER_REMOTE = "CheaperRemote"
    POLICY_ALWAYS_LOCAL = "PolicyAlwaysLocal"
    POLICY_ALWAYS_REMOTE = "PolicyAlwaysRemote"
    NO_PREFILL_REPLICA = "NoPrefillReplica"
    NOT_SPLITTABLE = "NotSplittable"  # the request cannot be cut into a prefill and a decode leg
    PREFILL_FAILED = "PrefillFailed"
    TRANSFER_FAILED = "TransferFailed"


class BusyReason(StrEnum):
    """Why a request is refused. None of them is a fault of the request."""

    NO_DECODE_REPLICA = "NoDecodeReplica"
    DRAINING = "Draining"
    WRONG_ROLE = "WrongRole"


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
    """

    session: str
    history: Tokens
    increment: Tokens
    history_moves: bool = True

    def __post_init__(self) -> None:
        for name in ("history", "increment"):
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
    """Where the prefill runs: ``endpoint`` is the prefill replica, or the decode replica if local."""

    kind: Kind
    endpoint: Endpoint
    reason: PlacementReason


def local(decode: Endpoint, reason: PlacementReason) -> Placement:
    return Placement(Kind.LOCAL, decode, reason)


def remote(prefill: Endpoint, reason: PlacementReason) -> Placement:
    return Placement(Kind.REMOTE, prefill, reason)


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
