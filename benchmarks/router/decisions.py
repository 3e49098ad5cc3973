"""What one placement decision costs with 200 replicas, for each policy that there is.

One decode replica that places 50 rounds a second, which is a lot, while each of the 200 reports its load once
a second: between two decisions four loads change, so that no decision sees the view of the one before.

Twice: the CPU time of the deciding thread, which the goal is about, and the time on the wall. A decision
never waits, so on a core of its own both are the same; on a shared one the wall's tail is that of the
neighbours. Theirs is, too, what a cache emptied by them adds to the CPU time.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from benchmarks.rows import Goal, Row, quantile
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
_APART: Final = 0.02
_REPORTS: Final = 4
_GOAL: Final = Goal("<=", 100.0)
_PROFILE: Final = BUILTIN["llama-3.1-8b-h100"]
_SLO: Final = SLO(ttft=2.0, tpot=0.075)


class Micros(NamedTuple):
    """What each of many took, in microseconds."""

    cpu: list[float]
    wall: list[float]

    def rows(self, metric: str, goal: Goal | None = None) -> Iterator[Row]:
        """The goal is for the tail of the CPU time."""
        config = f"{2 * _EACH_ROLE} replicas, {len(self.cpu)} times"
        for clock, micros in zip(("CPU time", "wall time"), self, strict=True):
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                judged = goal if (clock, name) == ("CPU time", "p99") else None
                yield Row(f"{metric}, {clock} {name}", quantile(micros, share), "us", config, judged)


def rows(seed: int = 1) -> list[Row]:
    found: list[Row] = []
    for name in PolicyName:
        policy = placement_policy(name, slo=_SLO, profile=_PROFILE)
        found += _decisions(policy, random.Random(seed)).rows(f"placement decision, {name}", _GOAL)
    view = ClusterView(tuple(_replicas(random.Random(seed))))
    return [*found, *_views(view).rows("view of the cluster after a load report")]


def _decisions(policy: PlacementPolicy, rng: random.Random) -> Micros:
    """Histories up to 30 k tokens, increments up to 2 k."""
    view = ClusterView(tuple(_replicas(rng)))
    decode, names = view.of(Role.DECODE)[0].name, [e.name for e in view.endpoints]
    rng.shuffle(names)
    cpu: list[float] = []
    wall: list[float] = []
    for number in range(_TIMES):
        now = 1.0 + number * _APART
        spoken = [names[(number * _REPORTS + i) % len(names)] for i in range(_REPORTS)]
        view = view.renewed({name: _load(rng, now) for name in spoken})
        asked = Round(f"s-{number}", history=rng.uniform(0, 30_000), increment=rng.uniform(1, 2_000))
        mine = view.named(decode)
        if mine is None:
            raise RuntimeError(f"{decode} is not in the view any more")
        with _timed(cpu, wall):
            policy.place(asked, view, mine, now=now, rng=rng)
    return Micros(cpu, wall)


def _views(view: ClusterView) -> Micros:
    """The roster's part: each load that is heard makes the next request look at a new view."""
    roster = Roster()
    roster.replace_all([Peer(e.name, e) for e in view.endpoints], now=0.0)
    cpu: list[float] = []
    wall: list[float] = []
    for number in range(_TIMES // 3):
        now = 1.0 + number
        roster.heard(view.endpoints[number % len(view.endpoints)].name, Load(seen_at=now))
        with _timed(cpu, wall):
            roster.view(now)
    return Micros(cpu, wall)


def _replicas(rng: random.Random) -> Iterator[Endpoint]:
    for role in Role:
        for number in range(_EACH_ROLE):
            yield Endpoint(f"{role}-{number}", "127.0.0.1", role, load=_load(rng, 0.9))


def _load(rng: random.Random, now: float) -> Load:
    """Busy beyond AMPD's slack, so that its dear branch, which compares costs, is what is timed."""
    return Load(
        running=rng.randrange(64),
        waiting=rng.randrange(8),
        queued_tokens=rng.uniform(0, 20_000),
        resident_tokens=rng.uniform(0, 300_000),
        kv_usage=rng.uniform(0, 1),
        ttft=rng.uniform(2.0, 4.0),
        itl=rng.uniform(0.07, 0.1),
        seen_at=now,
        backlog=rng.uniform(0.0, 1.0),
    )


@contextmanager
def _timed(cpu: list[float], wall: list[float]) -> Iterator[None]:
    began = time.perf_counter_ns()
    used = time.thread_time_ns()
    yield
    cpu.append((time.thread_time_ns() - used) * 1e-3)
    wall.append((time.perf_counter_ns() - began) * 1e-3)
