"""The comparison as a table in markdown."""

from collections.abc import Sequence
from typing import Final

from benchmarks.policies.figures import Run, Summary, summary
from benchmarks.rows import Goal, Row
from pdscale.router.policies import PolicyName

OURS: Final = PolicyName.COST_BASED
_HEAD: Final = (
    "| policy | attained | 95 % of resamples | strict | TTFT in time | TPOT in time | TTFT P50/P90/P99 s "
    "| TPOT P50/P90/P99 ms | local | requests, failed |\n"
    "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |"
)


def grouped(runs: Sequence[Run]) -> dict[tuple[str, str], dict[str, Summary]]:
    """(trace, load) -> policy -> its runs together, in the order in which they were made."""
    keys = dict.fromkeys((run.trace, run.load) for run in runs)
    return {key: _by_policy([r for r in runs if (r.trace, r.load) == key]) for key in keys}


def markdown(runs: Sequence[Run]) -> str:
    parts = []
    for (trace, load), policies in grouped(runs).items():
        lines = [f"### {trace}, {load}", "", _HEAD]
        best = sorted(policies.items(), key=lambda item: -item[1].attained)
        lines += [_line(policy, found) for policy, found in best]
        parts.append("\n".join([*lines, "", _machine(list(policies.values())), ""]))
    return "\n".join(parts)


def _by_policy(runs: Sequence[Run]) -> dict[str, Summary]:
    names = sorted({run.policy for run in runs})
    return {name: summary([r for r in runs if r.policy == name]) for name in names}


def _line(policy: str, s: Summary) -> str:
    low, high = s.attained_spread
    cells = (
        f"**{policy}**" if policy == OURS else policy,
        f"{s.attained:.1%}" + (" (invalid)" if s.invalid else ""),
        f"{low:.1%} to {high:.1%}",
        f"{s.strict:.1%}",
        f"{s.ttft_attained:.1%}",
        f"{s.tpot_attained:.1%}",
        " / ".join(f"{value:.2f}" for value in s.ttft),
        " / ".join(f"{value * 1e3:.0f}" for value in s.tpot),
        f"{s.local:.0%}",
        f"{s.requests}, {s.failed}",
    )
    return "| " + " | ".join(cells) + " |"


def _machine(found: Sequence[Summary]) -> str:
    worst = [max(getattr(s.machine, n) for s in found) for n in ("engines", "routers", "clients", "waited")]
    told = (
        "At most: engines {:.0%} of a core, routers {:.0%}, clients of all lanes {:.0%}; an engine waited "
        "for a core {:.1%} of the time; clients' lateness P99 {:.1f} ms."
    ).format(*worst, max(s.late for s in found) * 1e3)
    invalid = [why for s in found for why in s.invalid]
    return told + (f" Invalid: {'; '.join(invalid)}." if invalid else "")


def rows(runs: Sequence[Run]) -> list[Row]:
    """Ours against the best of the others, in percentage points, where it has been compared."""
    found = []
    for (trace, load), policies in grouped(runs).items():
        config = f"{trace}, {load}"
        found += [Row(f"attained, {p}", 100 * s.attained, "%", config) for p, s in policies.items()]
        others = {p: s.attained for p, s in policies.items() if p != OURS}
        if OURS in policies and others:
            best = max(others, key=lambda p: others[p])
            ahead = 100 * (policies[OURS].attained - others[best])
            found.append(Row(f"{OURS} ahead of {best}", ahead, "points", config, Goal(">=", 0)))
    return found
