"""The yardsticks and the simple rules that a clever one has to beat.

Whatever goes remote goes to the prefill replica with the fewest queued tokens; ties by chance.
"""

import random
from dataclasses import dataclass

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.candidates import quietest_prefill
from pdscale.placement.policy import Placement, PlacementReason, Round, local, remote


def to_quietest(
    view: ClusterView, decode: Endpoint, reason: PlacementReason, rng: random.Random
) -> Placement:
    """Remote if there is anywhere to go."""
    found, _ = quietest_prefill(view, without=decode.name, rng=rng)
    if found is None:
        return local(decode, PlacementReason.NO_PREFILL_REPLICA)
    return remote(found, reason)


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


class AlwaysRemote:
    """Every prefill on a prefill replica."""

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        return to_quietest(view, decode, PlacementReason.POLICY_ALWAYS_REMOTE, rng)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Increments of so many uncached tokens or more go remote: llm-d's and Dynamo's way to decide.

    Peers use 256 to 2048 (vllm-router's design, Dynamo). With 1 it is ``AlwaysRemote``.
    """

    tokens: Tokens = 512

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
        return to_quietest(view, decode, PlacementReason.THRESHOLD, rng)


class ConServe:
    """First round remote, every later one where the KV is (arXiv 2606.01839, from its abstract).

    A session whose history was lost (its replica went, its figures were forgotten) starts anew.
    """

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
        return to_quietest(view, decode, PlacementReason.FIRST_ROUND, rng)
