"""Question 4: AMPD's ablation, its share of local prefills, and what its rule's weak points cost.

AMPD's paper gives relative gains over Dynamo and no absolute attainment; here are both, at loads fixed in
advance. Its text was not at hand, so two readings that differ from ours stand beside it: the replica with the
shortest queue among those with slack instead of the first of a random order, and the headroom study's, in
which first rounds go to the shortest queue and the gates are asked for later rounds only.
"""

import random
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final, NamedTuple

from benchmarks.questions.frame import Answer, Given, Table
from benchmarks.questions.searches import Rule, run
from benchmarks.questions.workloads import AGENTS, CONVERSATION, FLEETS, WORKLOADS, settings_of
from benchmarks.rows import Row
from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile
from pdscale.placement.ampd import AMPD, has_slack
from pdscale.placement.candidates import taking_work
from pdscale.placement.correction import Correction
from pdscale.placement.policy import Placement, PlacementPolicy, PlacementReason, Round, remote
from pdscale.placement.shortest import ShortestQueue
from pdscale.scenarios.settings import OrderName, PlacementName, Settings
from pdscale.sim.judge import Verdict

RATES: Final = {CONVERSATION: (0.5, 1.0, 2.0, 3.0), AGENTS: (0.5, 1.0, 2.0, 3.0)}
PAPER_LOCAL: Final = "13.9 to 31.7 %"


@dataclass(frozen=True, slots=True)
class Quietest:
    """AMPD, but of those with slack the one with the fewest tokens queued; first rounds by it alone if
    ``first`` says so."""

    rule: AMPD
    first: bool
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
        if self.first and request.history == 0:
            return self._queue.send(request, view, decode, PlacementReason.FIRST_ROUND, now=now, rng=rng)
        limit = self.rule.alpha * self.rule.slo.ttft
        found = taking_work(view, Role.PREFILL, without=(decode.name,))
        slack = [e for e in found if has_slack(e.load.ttft, limit)]
        if slack:
            rng.shuffle(slack)
            return remote(min(slack, key=lambda e: e.load.queued_tokens), PlacementReason.PREFILL_SLACK)
        return self.rule.place(request, view, decode, now=now, rng=rng)


def quietest(profile: Profile, slo: SLO, _: Correction) -> PlacementPolicy:
    return Quietest(AMPD(profile, slo), first=False)


def later_only(profile: Profile, slo: SLO, _: Correction) -> PlacementPolicy:
    return Quietest(AMPD(profile, slo), first=True)


class Line(NamedTuple):
    label: str
    order: OrderName
    rule: Rule


_REMOTE: Final = Rule("remote", PlacementName.ALWAYS_REMOTE)
_AMPD: Final = Rule("AMPD", PlacementName.AMPD)
LINES: Final = (
    Line("neither (all remote, FCFS)", OrderName.FCFS, _REMOTE),
    Line("routing", OrderName.FCFS, _AMPD),
    Line("reordering (window 3)", OrderName.AMPD_WINDOW, _REMOTE),
    Line("both: AMPD", OrderName.AMPD_WINDOW, _AMPD),
    Line(
        "both, shortest queue with slack",
        OrderName.AMPD_WINDOW,
        Rule("quietest", PlacementName.AMPD, quietest),
    ),
    Line(
        "the same, gates for later rounds only",
        OrderName.AMPD_WINDOW,
        Rule("later", PlacementName.AMPD, later_only),
    ),
    Line("CostBased", OrderName.FEWEST_LATE, Rule("ours", PlacementName.COST_BASED)),
)


class Task(NamedTuple):
    settings: Settings
    rule: Rule
    load: float


def answer(given: Given) -> Answer:
    keys = [(w, load, line) for w in WORKLOADS for load in RATES[w] for line in LINES]
    tasks = [Task(settings_of(given, w, order=line.order), line.rule, load) for w, load, line in keys]
    by = dict(zip(keys, given.each(all_seeds, tasks), strict=True))
    return Answer(
        title="Question 4: AMPD's ablation",
        question="Share of rounds within their limits, plain / strict, and share of local prefills; mean of "
        "the seeds; 25 GB/s (200 Gb/s RDMA), KV pool.",
        tables=tuple(_table(w, by) for w in WORKLOADS),
        goals=tuple(row for w in WORKLOADS for row in _rows(w, by)),
        notes=(
            "The paper has, over Dynamo: routing +27 to +350 %, reordering +13 to +15 %, both +44 to "
            f"+402 %, without absolute figures; {PAPER_LOCAL} of the prefills were local.",
            "AMPD falls below all remote because it takes the first replica of a random order whose "
            "mean over ten seconds is within its limit: it looks at no queue, and prompts are heavy- "
            "tailed. A load's age does not matter to a mean over ten seconds. All remote goes to the "
            "shortest queue.",
            "The gate is a mean over legs that have ended: a replica with slack gets everybody's "
            "rounds until the first of them are through.",
        ),
    )


def all_seeds(task: Task) -> list[Verdict]:
    return [run(task.settings, task.rule, task.load, seed) for seed in task.settings.seed]


By = dict[tuple[str, float, Line], list[Verdict]]


def _table(workload: str, by: By) -> Table:
    loads = RATES[workload]
    rates = [fmean(v.rate for v in by[workload, load, LINES[0]]) for load in loads]
    header = (
        "rule",
        *(f"{rate:.1f} rounds/s" for rate in rates),
        *(f"local % at {rate:.1f}" for rate in rates),
    )
    rows = []
    for line in LINES:
        cells = [by[workload, load, line] for load in loads]
        shares = (f"{_plain(c) * 100:.1f} / {_strict(c) * 100:.1f}" for c in cells)
        rows.append((line.label, *shares, *(f"{_local(c) * 100:.1f}" for c in cells)))
    return Table(f"{workload}, {'P+'.join(map(str, FLEETS[workload]))}D", header, tuple(rows))


def _rows(workload: str, by: By) -> list[Row]:
    """The ablation as the paper states it, at the highest load, and the local share there."""
    load = RATES[workload][-1]
    base = _plain(by[workload, load, LINES[0]])
    where = f"{workload}, load {load:g}, over {base * 100:.1f} % for all remote, FCFS"
    rows = [
        Row(f"gain by {line.label}", (_plain(by[workload, load, line]) / base - 1) * 100, "%", where)
        for line in LINES[1:4]
    ]
    local = _local(by[workload, load, LINES[3]]) * 100
    return [*rows, Row("AMPD's local share", local, "%", f"{workload}, load {load:g}; paper: {PAPER_LOCAL}")]


def _plain(verdicts: list[Verdict]) -> float:
    return fmean(v.attainment for v in verdicts)


def _strict(verdicts: list[Verdict]) -> float:
    return fmean(v.strict_attainment for v in verdicts)


def _local(verdicts: list[Verdict]) -> float:
    return fmean(v.local_share for v in verdicts)
