"""Who may be considered at all, and who of them has least to do.

One pass over the view, which is in order of names, so that chance comes from the caller only. These
loops are most of what a decision among hundreds of replicas costs, hence their plainness.
"""

import math
import random
from collections.abc import Collection
from typing import Protocol

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds, Tokens


class Unreported(Protocol):
    """Work on its way to some replicas that their loads, seen at ``since``, cannot know of."""

    @property
    def endpoints(self) -> Collection[str]: ...

    def tokens(self, endpoint: str, since: Seconds) -> Tokens: ...


def taking_work(view: ClusterView, role: Role, *, without: Collection[str] = ()) -> tuple[Endpoint, ...]:
    """Endpoints of a role that are ready and not draining."""
    return tuple(
        [e for e in view.endpoints if e.role is role and e.ready and not e.draining and e.name not in without]
    )


def quietest_prefill(
    view: ClusterView, *, without: str, rng: random.Random, unreported: Unreported | None = None
) -> tuple[Endpoint | None, Tokens]:
    """The prefill replica with the fewest tokens queued, and that number; ties by chance."""
    found: Endpoint | None = None
    fewest, alike = math.inf, 0
    prefill, sent = Role.PREFILL, () if unreported is None else unreported.endpoints
    for endpoint in view.endpoints:
        if endpoint.role is not prefill or not endpoint.ready or endpoint.draining:
            continue
        name = endpoint.name
        if name == without:
            continue
        queued = endpoint.load.queued_tokens
        if unreported is not None and name in sent:
            queued += unreported.tokens(name, endpoint.load.seen_at)
        if queued < fewest:
            found, fewest, alike = endpoint, queued, 1
        elif queued == fewest:
            alike += 1
            if rng.random() * alike < 1:  # each of n equals stays with probability 1/n
                found = endpoint
    return found, fewest
