"""What a P/D ratio that follows the load is worth: DOPD's claims, on made-up workloads with known answers.

Phases of summaries and of reasoning in turn, each needing as many replicas as the other, on eight replicas of
an 8B model. Rates are searched, not loads: a load squeezes the starts of sessions, and phases with them. The
search is on the first seed; further ones run once at the rate found.

The rules were developed on seeds 11 and 12 and on phases of 15 minutes. "A ratio that follows the load" is
asked of a fixed total, so ours has the whole budget reserved.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from benchmarks.questions.frame import Answer, Given, Table
from benchmarks.rows import Goal, Row
from pdscale.model.pools import Targets
from pdscale.scenarios.runs import Case, run_case
from pdscale.scenarios.runs import Row as Run
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.sim.search import largest_load

TARGET: Final = 0.9
REPLICAS: Final = 8
FLIP: Final = "0.4s"  # two labels on a running pod: 373 to 401 ms on a real control plane
SPLITS: Final = tuple(Targets(p, REPLICAS - p) for p in (3, 4, 5))  # phases need as many of each
FLEET: Final = {
    "prefill": "4",
    "decode": "4",
    "gpu_budget": "8",
    "max_prefill": "7",
    "max_decode": "7",
    "load_age": "0s",
}


@dataclass(frozen=True, slots=True)
class Contender:
    """Who places and who scales; ``fleet`` is what it begins with, 4P+4D unless given.

    ``thrifty``: GPUs that are not needed are given back, where all others have the whole budget reserved.
    ``any_split``: down to no prefill replica, which is one pool, where all others keep one.
    """

    placement: PlacementName
    scaling: ScalingName
    fleet: Targets | None = None
    thrifty: bool = False
    any_split: bool = False

    def __str__(self) -> str:
        fleet = "" if self.fleet is None else f" {self.fleet}"
        more = ", GPUs given back" if self.thrifty else ", 0P+8D too" if self.any_split else ""
        return f"{self.placement} + {self.scaling}{fleet}{more}"


@dataclass(frozen=True, slots=True)
class Carried:
    """The largest rate of the first kind of request at which ``TARGET`` is attained, and what then happens.

    ``goodput`` are rounds per second of both kinds that attain their objectives. ``runs`` are one a seed.
    """

    contender: Contender
    rate: float
    runs: tuple[Run, ...]

    @property
    def goodput(self) -> float:
        return sum(r.verdict.goodput for r in self.runs) / len(self.runs) if self.runs else 0.0


STATIC: Final = tuple(Contender(PlacementName.ALWAYS_REMOTE, ScalingName.STATIC, s) for s in SPLITS)
# The same router as ours: where decode replicas prefill, too, one prefill replica may be enough.
ROUTED_SPLITS: Final = (Targets(1, 7), Targets(2, 6), *SPLITS[:2])
ROUTED: Final = tuple(Contender(PlacementName.COST_BASED, ScalingName.STATIC, s) for s in ROUTED_SPLITS)
DISTSERVE: Final = Contender(PlacementName.ALWAYS_REMOTE, ScalingName.STATIC)
VLLM: Final = Contender(PlacementName.COLOCATED, ScalingName.STATIC)
RATIO: Final = Contender(PlacementName.ALWAYS_REMOTE, ScalingName.PDSCALE)
OURS: Final = Contender(PlacementName.COST_BASED, ScalingName.PDSCALE)
POOLING: Final = Contender(PlacementName.COST_BASED, ScalingName.PDSCALE, any_split=True)
THRIFTY: Final = Contender(PlacementName.COST_BASED, ScalingName.PDSCALE, thrifty=True)
DOPD: Final = Contender(PlacementName.ALWAYS_REMOTE, ScalingName.DOPD)
FORESEEN: Final = Contender(PlacementName.ALWAYS_REMOTE, ScalingName.CLAIRVOYANT)


def answer(given: Given) -> Answer:
    long, short = (30, 10) if not given.quick else (5, 3)
    known: dict[str, Callable[[], Part]] = {
        "inversion-long": lambda: _inversion(given, minutes=long),
        "inversion-short": lambda: _inversion(given, minutes=short),
        "drift": lambda: _drift(given),
        "steady": lambda: _steady(given),
    }
    if unknown := [part for part in given.parts if part not in known]:
        raise ValueError(f"parts must be among {', '.join(known)}, got {', '.join(unknown)}")
    found = [make() for name, make in known.items() if given.asks(name)]
    left = ", ".join(name for name in known if not given.asks(name))
    return Answer(
        title="Question 3: a ratio that follows the load",
        question="Does a changing P/D ratio carry more than the best fixed one, and where does it harm?",
        tables=tuple(table for part in found for table in part.tables),
        goals=tuple(goal for part in found for goal in part.goals),
        notes=(
            *((f"Not asked this time: {left}.",) if left else ()),
            "Goodput is searched at 90 % attainment of TTFT 2 s and TPOT 50 ms; 3 % of these summaries "
            "take longer than 2 s on an idle replica.",
            "Every rule sees loads of this instant, since this is about the ratio; what their age costs is "
            "in question 2.",
            f"A replica changes its role in {FLIP} once its last stream has ended. After reasoning that "
            "takes minutes, and short phases end before the fleet has followed.",
            "Splits are fixed for good. `CostBased` also prefills on decode replicas, so its best split has "
            "few prefill replicas, and a ratio has less to gain.",
            "`0P+8D too` may do without prefill replicas (`prefill.minReplicas: 0`): one pool that prefills "
            "for itself, which is what colocated engines are; all others keep one of each role.",
            "Pdscale has all GPUs reserved, as the question is which role they have; `GPUs given back` is "
            "the same rule at its usual work, the fewest GPUs that will do.",
            "The fluid bound of 1.75 times the best split knows no drains.",
            "Changes are of one role's number: a replica that goes from one role to the other is two.",
        ),
    )


@dataclass(frozen=True, slots=True)
class Part:
    tables: tuple[Table, ...]
    goals: tuple[Row, ...]


# -- phases in turn


def _inversion(given: Given, *, minutes: int) -> Part:
    settings = given.settings(
        workload="phase-inversion", duration=f"{4 * minutes}m", flip=FLIP, rate="8", **FLEET
    )
    contenders = (*STATIC, *ROUTED, RATIO, OURS, POOLING, THRIFTY, VLLM, FORESEEN, DOPD)
    found = given.each(partial(carried, settings), contenders)
    by = {c.contender: c for c in found}
    static = max((by[s] for s in STATIC), key=lambda c: c.goodput)
    routed = max((by[s] for s in ROUTED), key=lambda c: c.goodput)
    where = f"phases of {minutes} min"
    rate = by[RATIO].rate or static.rate or settings.rate
    same = given.each(partial(at_rate, settings, rate), (RATIO, OURS, DISTSERVE, VLLM, THRIFTY))
    goals = [
        _ratio("goodput over best split", by[RATIO], static, f"{where}, AlwaysRemote", 1.5),
        _ratio("goodput over best split", by[OURS], static, f"{where}, CostBased", 1.5),
        _ratio("goodput over best split", by[POOLING], static, f"{where}, CostBased, 0P+8D too", 1.5),
        _ratio("goodput over best split under the same router", by[OURS], routed, f"{where}, CostBased", 1.0),
        _ratio("goodput over clairvoyant", by[RATIO], by[FORESEEN], where, 0.85),
        _ratio("goodput over colocated", by[OURS], by[VLLM], where, None),
        _ratio("goodput over colocated", by[POOLING], by[VLLM], f"{where}, 0P+8D too", None),
    ]
    for ours in same[:2]:
        for other, name in ((same[2], "DistServe-like"), (same[3], "vLLM-like")):
            goals += _cuts(ours, other, f"{where}, {ours.contender.placement} against {name}")
    carried_table = Table(
        f"{where}: largest rate of summaries at 90 %, goodput there over both kinds, attainment by seed",
        ("rule", "rate /s", "goodput /s", "attainment %", "changes", "GPU-h"),
        tuple(_line(c) for c in found),
    )
    same_table = Table(
        f"{where}: all at {rate:.2f} summaries/s"
        f"{', where AlwaysRemote + Pdscale attains 90 %' if by[RATIO].rate else ''}",
        ("rule", "attainment %", "TTFT P90 s", "TPOT P90 ms", "changes", "GPU-h"),
        tuple(_latencies(c) for c in same),
    )
    return Part((carried_table, same_table), tuple(goals))


def carried(settings: Settings, contender: Contender) -> Carried:
    """The search on the first seed, the others as a check of it."""
    first = settings.seed[0]

    def attained(rate: float) -> float:
        return _run(settings, contender, rate, first).verdict.attainment

    found = largest_load(
        attained, target=TARGET, low=settings.rate / 2, high=settings.rate * 1.5, precision=0.04
    )
    if found is None:
        return Carried(contender, 0.0, ())
    return at_rate(settings, found.load, contender)


def at_rate(settings: Settings, rate: float, contender: Contender) -> Carried:
    return Carried(contender, rate, tuple(_run(settings, contender, rate, seed) for seed in settings.seed))


def _run(settings: Settings, contender: Contender, rate: float, seed: int) -> Run:
    case = Case(contender.placement, contender.scaling, 1.0, seed, contender.fleet)
    reserved = 0 if contender.thrifty else settings.limits.budget
    if contender.any_split:
        settings = replace(settings, min_prefill=0, max_decode=REPLICAS)
    return run_case(replace(settings, rate=rate, reserved_gpus=reserved), case)


# -- a mix that drifts, and one that stays


def _drift(given: Given) -> Part:
    """Code to conversation on a 70B model, four GPUs a replica."""
    settings = given.settings(
        workload="drifting",
        duration="5m" if given.quick else "16m",
        profile="llama-3.1-70b-h100-tp4",
        flip=FLIP,
        rate="40",
        **FLEET | {"gpus_prefill": "4", "gpus_decode": "4", "gpu_budget": "32"},
    )
    found = given.each(partial(carried, settings), (*STATIC, *ROUTED, RATIO, OURS))
    static = max(found[: len(STATIC)], key=lambda c: c.goodput)
    routed = max(found[len(STATIC) : -2], key=lambda c: c.goodput)
    table = Table(
        "drift from code to conversation: largest rate of code at 90 %, goodput there, attainment by seed",
        ("rule", "rate /s", "goodput /s", "attainment %", "changes", "GPU-h"),
        tuple(_line(c) for c in found),
    )
    goals = (
        _ratio("goodput over best split", found[-2], static, "drift, AlwaysRemote", 1.1),
        _ratio("goodput over best split", found[-1], static, "drift, CostBased", 1.1),
        _ratio("goodput over best split under the same router", found[-1], routed, "drift, CostBased", 1.0),
    )
    return Part((table,), goals)


def _steady(given: Given) -> Part:
    """One kind of request for an hour; the fleet begins with the split that carries it best."""
    goals, lines = [], []
    for name, rate, split in (("summary", 8.0, Targets(7, 1)), ("reasoning", 3.5, Targets(1, 7))):
        settings = given.settings(
            workload=name, duration="10m" if given.quick else "60m", flip=FLIP, rate=str(rate), **FLEET
        )
        ours = replace(RATIO, fleet=split)
        static, found = given.each(partial(carried, settings), (replace(DISTSERVE, fleet=split), ours))
        hours = [r.ended_at / 3600 for r in found.runs]
        changes = [r.verdict.changes / h for r, h in zip(found.runs, hours, strict=True)]
        goals.append(_ratio("goodput over best split", found, static, f"stationary {name}", 0.98))
        worst = max(changes, default=math.inf)
        goals.append(Row("changes", worst, "1/h", f"stationary {name}, worst seed", Goal("<=", 1)))
        lines += [(name, *_line(c)) for c in (static, found)]
    header = ("kind", "rule", "rate /s", "goodput /s", "attainment %", "changes", "GPU-h")
    return Part((Table("one kind of request for an hour", header, tuple(lines)),), tuple(goals))


# -- figures


def _ratio(metric: str, ours: Carried, other: Carried, config: str, least: float | None) -> Row:
    value = ours.goodput / other.goodput if other.goodput else 0.0
    return Row(metric, round(value, 3), "x", config, None if least is None else Goal(">=", least))


def _cuts(ours: Carried, other: Carried, config: str) -> list[Row]:
    """By how many percent our P90s are lower: the paper's 67.5 and 22.8."""
    rows = []
    for name, goal in (("ttft", 67.5), ("tpot", 22.8)):
        mine, theirs = (_mean_p90(c, name) for c in (ours, other))
        rows.append(
            Row(f"P90 {name.upper()} lower by", 100 * (1 - mine / theirs), "%", config, Goal(">=", goal))
        )
    return rows


def _mean_p90(c: Carried, name: str) -> float:
    spreads = [r.verdict.ttft if name == "ttft" else r.verdict.tpot for r in c.runs]
    return sum(spread.p90 for spread in spreads) / len(spreads)


def _line(c: Carried) -> tuple[str, ...]:
    return (str(c.contender), f"{c.rate:.2f}", f"{c.goodput:.2f}", *_outcome(c))


def _outcome(c: Carried) -> tuple[str, str, str]:
    shares = " ".join(f"{100 * r.verdict.attainment:.1f}" for r in c.runs)
    changes = " ".join(str(r.verdict.changes) for r in c.runs)
    return shares or "-", changes or "-", " ".join(f"{r.verdict.gpu_hours:.1f}" for r in c.runs) or "-"


def _latencies(c: Carried) -> tuple[str, ...]:
    shares, changes, hours = _outcome(c)
    ttft, tpot = _mean_p90(c, "ttft"), 1000 * _mean_p90(c, "tpot")
    return str(c.contender), shares, f"{ttft:.2f}", f"{tpot:.1f}", changes, hours
