"""All contenders of a case, on each seed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final, TypeVar

from benchmarks.dynamo import rules
from benchmarks.dynamo.cases import Case
from benchmarks.dynamo.profiling import Profiled
from benchmarks.dynamo.simulator import Outcome, replayed
from pdscale.model.pools import Targets
from pdscale.workload.trace import Trace

GOAL: Final = 0.99
OURS: Final = "pdscale, half an hour known, careful"
ORACLE: Final = "oracle"

T = TypeVar("T")
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Line:
    """A contender's runs, one a seed. ``note`` is what hindsight found for it."""

    name: str
    runs: tuple[Outcome, ...]
    note: str = ""

    def mean(self, figure: str) -> float:
        return fmean(getattr(run, figure) for run in self.runs)


@dataclass(frozen=True, slots=True)
class Compared:
    case: Case
    profiled: Profiled
    lines: tuple[Line, ...]

    def named(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)

    def ratio(self, line: Line) -> float:
        """GPU-hours over the oracle's."""
        return line.mean("gpu_hours") / self.named(ORACLE).mean("gpu_hours")


def compared(
    python: Path, case: Case, profiled: Profiled, *, seeds: Sequence[int], tell: Tell, quick: bool = False
) -> Compared:
    """``quick`` runs three of the ten modes of Dynamo's planner, the best ones of the study of peers."""
    found: dict[str, list[tuple[Outcome, str]]] = {}
    for seed in seeds:
        trace = case.trace(seed)
        for name, outcome, note in _runs(python, case, profiled, trace, case.past(seed), quick=quick):
            found.setdefault(name, []).append((outcome, note))
            tell(f"{case.name}, seed {seed}, {name}: {outcome.both:.1%}, {outcome.gpu_hours:.2f} GPU-hours")
    lines = [
        Line(
            name,
            tuple(outcome for outcome, _ in each),
            ", ".join(dict.fromkeys(note for _, note in each if note)),
        )
        for name, each in found.items()
    ]
    return Compared(case, profiled, tuple(lines))


def _runs(
    python: Path, case: Case, profiled: Profiled, trace: Trace, past: Trace, *, quick: bool
) -> Iterator[tuple[str, Outcome, str]]:
    profile = profiled.profile

    def static(fleet: Targets) -> Outcome:
        return replayed(python, case, trace, fleet=fleet)

    def foreseeing(factor: float) -> Outcome:
        decide = rules.oracle(case, profile, trace, factor)
        return replayed(python, case, trace, fleet=case.begin, decide=decide)

    fleet = least_fleet(static, most=case.most)
    yield "best static", static(fleet), f"{fleet}"
    factor, found = _first(rules.FACTORS, foreseeing, enough=lambda o: o.both)
    yield ORACLE, found, f"{factor:g} times the rates"
    known: Mapping[str, Trace | None] = {"pdscale": None, "pdscale, half an hour known": past, OURS: past}
    for name, before in known.items():
        scaler = rules.ours(case, profile, attainment=GOAL, careful=name == OURS)
        decide = rules.Rule(profile, scaler, before=before)
        yield name, replayed(python, case, trace, fleet=case.begin, decide=decide), ""
    for name, rule in rules.rivals(case, profile, trace).items():
        yield name, replayed(python, case, trace, fleet=case.begin, decide=rule), ""
    for name, planner in rules.planners(case, profiled.samples, past).items():
        if quick and name not in rules.QUICK:
            continue
        yield f"Dynamo, {name}", replayed(python, case, trace, fleet=case.begin, planner=planner), ""


def least_fleet(run: Callable[[Targets], Outcome], *, most: int) -> Targets:
    """Least prefill replicas for the TTFT beside plenty of decode, then least decode replicas beside these.

    Each role decides about one objective: that makes ten runs of a hundred.
    """
    sizes = range(1, most + 1)
    prefill, _ = _first(sizes, lambda p: run(Targets(p, most)), enough=lambda o: o.ttft)
    decode, _ = _first(sizes, lambda d: run(Targets(prefill, d)), enough=lambda o: o.both)
    return Targets(prefill, decode)


def _first(
    candidates: Sequence[T], run: Callable[[T], Outcome], *, enough: Callable[[Outcome], float]
) -> tuple[T, Outcome]:
    """By halving, the first that reaches the goal, or the last one if none does."""
    low, high = 0, len(candidates) - 1
    tried: dict[int, Outcome] = {}
    while low < high:
        middle = (low + high) // 2
        tried[middle] = run(candidates[middle])
        low, high = (low, middle) if enough(tried[middle]) >= GOAL else (middle + 1, high)
    return candidates[low], tried.get(low) or run(candidates[low])
