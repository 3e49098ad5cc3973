"""What one placement decision costs with 200 replicas, for each policy that there is.

CPU time of the deciding thread: a decision never waits, and a machine that takes its core away is no fault
of the policy's.
"""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.rows import Row, quantile
from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.placement.policy import PlacementPolicy, Round
from pdscale.router.fleet.peers import Peer
from pdscale.router.fleet.roster import Roster
from pdscale.router.policies import PolicyName, placement_policy

_EACH_ROLE: Final = 100
_TIMES: Final = 3000
_PROFILE: Final = BUILTIN["llama-3.1-8b-h100"]
_SLO: Final = SLO(ttft=2.0, tpot=0.075)


def rows(seed: int = 1) -> list[Row]:
    rng = random.Random(seed)
    view = ClusterView(tuple(_replicas(rng)))
    found = []
    for name in PolicyName:
        policy = placement_policy(name, slo=_SLO, profile=_PROFILE)
        found += _rows(f"placement decision, {name}", _decisions(policy, view, rng))
    return [*found, *_rows("view of the cluster after a load report", list(_views(view)))]


def _decisions(policy: PlacementPolicy, view: ClusterView, rng: random.Random) -> list[float]:
    """Histories up to 30 k tokens, increments up to 2 k."""
    decodes, found = view.of(Role.DECODE), []
    for number in range(_TIMES):
        asked = Round(f"s-{number}", history=rng.uniform(0, 30_000), increment=rng.uniform(1, 2_000))
        decode = rng.choice(decodes)
        began = time.thread_time_ns()
        policy.place(asked, view, decode, now=1.0, rng=rng)
        found.append((time.thread_time_ns() - began) * 1e-3)
    return found


def _views(view: ClusterView) -> Iterator[float]:
    """The roster's part: each load that is heard makes the next request look at a new view."""
    roster = Roster()
    roster.replace_all([Peer(e.name, e) for e in view.endpoints], now=0.0)
    for number in range(_TIMES // 3):
        now = 1.0 + number
        roster.heard(view.endpoints[number % len(view.endpoints)].name, Load(seen_at=now))
        began = time.thread_time_ns()
        roster.view(now)
        yield (time.thread_time_ns() - began) * 1e-3


def _replicas(rng: random.Random) -> Iterator[Endpoint]:
    """All busy beyond AMPD's slack, so that its dear branch, which compares costs, is what is timed."""
    for role in Role:
        for number in range(_EACH_ROLE):
            load = Load(
                running=rng.randrange(64),
                waiting=rng.randrange(8),
                queued_tokens=rng.uniform(0, 20_000),
                resident_tokens=rng.uniform(0, 300_000),
                kv_usage=rng.uniform(0, 1),
                ttft=rng.uniform(2.0, 4.0),
                itl=rng.uniform(0.07, 0.1),
                seen_at=0.9,
            )
            yield Endpoint(f"{role}-{number}", "127.0.0.1", role, load=load)


def _rows(metric: str, micros: Sequence[float]) -> list[Row]:
    config = f"{2 * _EACH_ROLE} replicas, {len(micros)} times"
    return [
        Row(f"{metric}, {name}", quantile(micros, share), "us", config)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]
