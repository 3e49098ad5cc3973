"""Figures of a process and of its metrics: the kernel's, a scrape's, and percentiles of a histogram."""

import math
import os
from pathlib import Path
from typing import Final

from benchmarks.rows import Goal, Row

TICK: Final = "pdscale_operator_tick_duration_seconds"


def ticks(
    after: dict[str, float], before: dict[str, float], what: str, goal: Goal | None = None
) -> list[Row]:
    """The 50th and 99th percentile, interpolated between the bounds of the histogram's buckets."""
    buckets = sorted(
        (float(key.split('"')[1]), value - before.get(key, 0.0))
        for key, value in after.items()
        if key.startswith(f"{TICK}_bucket")
    )
    count = buckets[-1][1]
    return [
        Row(
            f"duration of a tick {what}, 50th percentile", percentile(buckets, 0.5), "s", f"{count:.0f} ticks"
        ),
        Row(f"duration of a tick {what}, 99th percentile", percentile(buckets, 0.99), "s", goal=goal),
    ]


def percentile(buckets: list[tuple[float, float]], share: float) -> float:
    wanted, low, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return math.nan


def total(told: dict[str, float], name: str) -> float:
    return sum(value for key, value in told.items() if key.startswith(name))


def cpu_seconds(pid: int) -> float:
    """Seconds of the processor that a process and its threads have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> tuple[float, float]:
    """Now, and at most so far."""
    lines = dict(x.split(":", 1) for x in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024
