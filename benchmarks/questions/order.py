"""Question 2: what the order of the prefill queue and the deflection of first rounds are worth.

On conversations, whose prompts are heavy-tailed. Without deflection first rounds are prefilled on prefill
replicas whatever waits there; the rest of our rule stays.
"""

import random
from dataclasses import dataclass, field
from typing import Final

from benchmarks.questions.frame import Answer, Given, Table
from benchmarks.questions.searches import COARSE, STEP, TARGETS, Most, Rule, Search, Target, searched, told
from benchmarks.questions.workloads import CONVERSATION, LOADS, settings_of
from benchmarks.rows import Goal, Row
from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile
from pdscale.placement.correction import Correction
from pdscale.placement.cost import CostBased
from pdscale.placement.policy import Placement, PlacementPolicy, PlacementReason, Round
from pdscale.placement.shortest import ShortestQueue
from pdscale.scenarios.settings import OrderName, PlacementName

PLAIN: Final = "CostBased without deflection"
NOW: Final = "CostBased, loads of this instant"
_GOAL: Final = Goal(">=", 1.25)


@dataclass(slots=True)
class Undeflected:
    """First rounds remote, later ones as ``policy`` says."""

    policy: PlacementPolicy
    _queue: ShortestQueue = field(default_factory=ShortestQueue)

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        if request.history == 0:
            return self._queue.send(request, view, decode, PlacementReason.FIRST_ROUND, now=now, rng=rng)
        return self.policy.place(request, view, decode, now=now, rng=rng)


def undeflected(profile: Profile, slo: SLO, correction: Correction) -> PlacementPolicy:
    return Undeflected(CostBased(profile, slo, correction))


def answer(given: Given) -> Answer:
    ours = PlacementName.COST_BASED
    remote = PlacementName.ALWAYS_REMOTE
    rules = (Rule(str(ours), ours), Rule(PLAIN, ours, undeflected), Rule(str(remote), remote))
    low, high = LOADS[CONVERSATION]
    step = COARSE if given.quick else STEP
    pairs = [(rule, order) for rule in rules for order in OrderName]
    asked = [
        Search(settings_of(given, CONVERSATION, order=order), rule, low, high, step=step)
        for rule, order in pairs
    ]
    asked.append(
        Search(settings_of(given, CONVERSATION, load_age="0s"), Rule(NOW, ours), low, high, step=step)
    )
    found = given.each(searched, asked)
    labels = [(rule.label, str(order)) for rule, order in pairs]
    by = dict(zip([*labels, (NOW, str(OrderName.FEWEST_LATE))], found, strict=True))
    return Answer(
        title="Question 2: the order of prefills, and deflection",
        question="Rounds per second by order and by whether first rounds may go to decode replicas; "
        "conversation, 5P+3D, 25 GB/s, KV pool.",
        tables=(_table(by),),
        goals=tuple(_goals(by)),
        notes=(
            "A prompt that an engine has begun is not interrupted: whoever is let in behind 85 k "
            "tokens waits for 5 s in any order. The headroom study's engines let others in between "
            "chunks.",
            "`loads of this instant` is no policy: it says what is left of the age of loads. Prefill "
            "replicas are asked before a round of 512 new tokens or more is placed; other loads are up "
            "to 1.5 s old.",
        ),
    )


Found = dict[tuple[str, str], dict[Target, Most]]


def _table(by: Found) -> Table:
    header = (
        "placement",
        "order",
        *(f"{t} rounds/s" for t in TARGETS),
        "P99 TTFT at 99 %",
        "local % at 99 %",
    )
    rows = []
    for (label, order), found in by.items():
        at = found[Target(0.99)].verdict
        more = ("", "") if at is None else (f"{at.ttft.p99:.1f} s", f"{at.local_share * 100:.0f}")
        rows.append((label, order, *(told(found[t]) for t in TARGETS), *more))
    return Table("conversation", header, tuple(rows))


def _goals(by: Found) -> list[Row]:
    rows = []
    fcfs, default = str(OrderName.FCFS), str(OrderName.FEWEST_LATE)
    ours = str(PlacementName.COST_BASED)
    bases = {
        "order and deflection": (PLAIN, fcfs),
        "deflection alone": (PLAIN, default),
        "order alone": (ours, fcfs),
    }
    for target in (Target(0.9), Target(0.99)):
        for name, base in bases.items():
            most, least = by[ours, default][target], by[base][target]
            if most.verdict is None or least.verdict is None:
                continue
            goal = _GOAL if target.share == 0.99 and name == "order and deflection" else None
            p99 = f"P99 TTFT {most.verdict.ttft.p99:.1f} s, was {least.verdict.ttft.p99:.1f} s"
            rows.append(Row(f"{name} at {target}", most.load / least.load, "x", p99, goal))
    return rows
