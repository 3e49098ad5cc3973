"""The yardsticks and the simple rules that a clever one has to beat.

Whatever goes remote goes to the prefill replica with the shortest queue.
"""

import random
from dataclasses import dataclass, field

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.policy import Placement, PlacementReason, Round, local
from pdscale.placement.shortest import ShortestQueue


class AlwaysLocal:
    """Decode replicas prefill everything: a colocated engine behind a session router."""

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        return local(decode, PlacementReason.POLICY_ALWAYS_LOCAL)


@dataclass(frozen=True, slots=True)
class AlwaysRemote:
    """Every prefill on a prefill replica."""

    _queue: ShortestQueue = field(default_factory=ShortestQueue, init=False, repr=False, compare=False)

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        return self._queue.send(request, view, decode, PlacementReason.POLICY_ALWAYS_REMOTE, now=now, rng=rng)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Increments of so many uncached tokens or more go remote: llm-d's and Dynamo's way to decide.

    Peers use 256 to 2048 (vllm-router's design, Dynamo). With 1 it is ``AlwaysRemote``.
    """

    tokens: Tokens = 512
    _queue: ShortestQueue = field(default_factory=ShortestQueue, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.tokens >= 1:
            raise ValueError(f"thresholdTokens must be at least 1, got {self.tokens}")

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        if request.increment < self.tokens:
            return local(decode, PlacementReason.THRESHOLD)
        return self._queue.send(request, view, decode, PlacementReason.THRESHOLD, now=now, rng=rng)


@dataclass(frozen=True, slots=True)
class ConServe:
    """First round remote, every later one where the KV is (arXiv 2606.01839, from its abstract).

    A session whose history was lost (its replica went, its figures were forgotten) starts anew.
    """

    _queue: ShortestQueue = field(default_factory=ShortestQueue, init=False, repr=False, compare=False)

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        if request.history > 0:
            return local(decode, PlacementReason.PINNED)
        return self._queue.send(request, view, decode, PlacementReason.FIRST_ROUND, now=now, rng=rng)
