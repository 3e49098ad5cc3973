"""What is published of it: rows with goals, and a table with every contender, those that beat us included."""

from collections.abc import Sequence
from statistics import fmean
from typing import Final

from benchmarks.dynamo.comparing import GOAL, ORACLE, OURS, Compared, Line
from benchmarks.rows import Goal, Row

_RATIO: Final = 1.10
_HEADER: Final = (
    "who decides",
    "TTFT %",
    "TPOT %",
    "both %",
    "GPU-hours",
    "of the oracle's",
    "changes",
    "found by hindsight",
)


def rows(results: Sequence[Compared]) -> list[Row]:
    found = []
    for each in results:
        case = f"case {each.case.name}: {each.case.what}"
        for line in each.lines:
            if not line.name.startswith("pdscale"):
                continue
            goal = line.name == OURS
            attained = Goal(">=", 100 * GOAL) if goal else None
            ratio = Goal("<=", _RATIO) if goal else None
            found.append(Row(f"{line.name}: attained", 100 * line.mean("both"), "%", case, attained))
            found.append(Row(f"{line.name}: GPU-hours", each.ratio(line), "x oracle", case, ratio))
        theirs = max(
            (ln for ln in each.lines if ln.name.startswith("Dynamo")), key=lambda ln: ln.mean("both")
        )
        found.append(Row(f"best of {theirs.name}: attained", 100 * theirs.mean("both"), "%", case))
    return found


def table(results: Sequence[Compared], *, command: str) -> str:
    parts = [f"`{command}`"]
    for each in results:
        case, profiled = each.case, each.profiled
        count = len(each.named(ORACLE).runs)
        seeds = "1 seed" if count == 1 else f"{count} seeds"
        requests = fmean(run.requests for run in each.named(ORACLE).runs)
        parts.append(
            f"**Case {case.name}: {case.what}.** {requests:.0f} requests, {seeds}, "
            f"`speedup_ratio` {case.speed:g}, TTFT {case.slo.ttft:g} s, TPOT {case.slo.tpot * 1e3:g} ms, "
            f"start-up 60 s, begun with {case.begin}. Profile: prefill {profiled.prefill_error}; decode "
            f"{profiled.decode_error}."
        )
        lines = [_HEADER, ("---",) + ("--:",) * 6 + ("---",), *(_cells(each, line) for line in each.lines)]
        parts.append("\n".join("| " + " | ".join(cells) + " |" for cells in lines))
    return "\n\n".join(parts) + "\n"


def _cells(each: Compared, line: Line) -> tuple[str, ...]:
    shares = (
        _spread([100 * getattr(run, name) for run in line.runs], 1) for name in ("ttft", "tpot", "both")
    )
    return (
        line.name,
        *shares,
        _spread([run.gpu_hours for run in line.runs], 2),
        f"{each.ratio(line):.2f}",
        f"{line.mean('changes'):.0f}",
        line.note,
    )


def _spread(values: Sequence[float], digits: int) -> str:
    """The mean, and the least and the largest where they differ."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    mean = f"{fmean(values):.{digits}f}"
    return mean if low == high else f"{mean} ({low} to {high})"
