"""Which replicas are asked for their load before a round is placed.

A load travels with each answer, and whoever is silent is asked after a second; so a decider with few legs of
its own decides by figures that are up to a second and a half old, and knows nothing of what the others have
sent meanwhile. That costs more than anything else in a rule: two long prompts meet at one replica while the
next one is idle. Sent together, legs cannot be told apart afterwards. (Recorded conversation, 5P+3D, 8B on
H200, ``CostBased`` at 6.4 rounds/s: 97.6 % in time with loads of up to 1.5 s, 98.3 % of 0.5 s, 99.1 % of
0.15 s, all with loads of the instant.)

Asking takes about a millisecond and is paid where it is nothing beside the prefill: for rounds with many new
tokens, which are also the ones that meet. It is Prequal's probe (Wydrowski et al., NSDI 2024), with the
figures that we compare in it; of many replicas only those that look least busy are asked, as the choice falls
on one of them.
"""

from collections.abc import Collection
from heapq import nsmallest
from typing import Final

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.candidates import taking_work

# 512 tokens take an 8B on H200 some 12 ms.
WORTH_ASKING: Final[Tokens] = 512
_FRESH: Final[Seconds] = 0.005
_MOST: Final = 8


def whom_to_ask(
    view: ClusterView, increment: Tokens, *, now: Seconds, without: Collection[str] = ()
) -> tuple[Endpoint, ...]:
    """Prefill replicas whose load is to be renewed before a round of so many new tokens is placed."""
    if increment < WORTH_ASKING:
        return ()
    before = now - _FRESH
    found = taking_work(view, Role.PREFILL, without=without)
    if len(found) > _MOST:
        found = tuple(nsmallest(_MOST, found, key=_busy))
    return tuple([e for e in found if e.load.seen_at < before])


def _busy(endpoint: Endpoint) -> tuple[Seconds, Tokens]:
    """By its own word; who tells no time is compared by tokens."""
    load = endpoint.load
    return 0.0 if load.backlog is None else load.seen_at + load.backlog, load.queued_tokens
