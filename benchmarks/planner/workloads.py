"""What the planner is judged on, as settings of the simulator: eight workloads, one SLO each, no knob each.

Recorded arrivals and rates belong to other people and are named by a folder. A quick day of rates is every
fourth of its windows, each a quarter as long: its swing in an hour and a half, harder to follow than the
real one by far. Rates are scaled to a mean that some replicas of a 70B model on 8 A100s serve, the headroom
study's engine and limits. Recorded requests are replayed beside copies of themselves, each request of a copy
up to 20 s later, as the study did.

Not here: the study's mix of Azure's conversation and code of 2023, whose code part is not among the traces.
``bursty`` is drawn after it.
"""

import csv
import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale.scenarios.reading import read_settings
from pdscale.scenarios.settings import Settings

MADE: Final = Path("build/planner")
LARGE: Final = {"profile": "llama-2-70b-a100-tp8-2023", "ttft": "2s", "tpot": "75ms"}
PATIENT: Final = LARGE | {"ttft_stretch": "3"}  # the study's: 3 % of code prompts take 2 s on an idle replica
SMALL: Final = {"profile": "llama-3.1-8b-h100", "ttft": "5s", "tpot": "50ms"}
BOUNDS: Final = {"max_prefill": "14", "max_decode": "14", "attainment": "99%"}
_COLUMNS: Final = (
    "timestamp_s",
    "session_id",
    "round_index",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a workload: ``copies`` of recorded requests, one of ``every`` windows of a day of rates, in
    that part of its time, and drawn workloads so many times as long as the shortest."""

    copies: int
    every: int
    longer: float


QUICK: Final = Size(copies=1, every=4, longer=1.0)
FULL: Final = Size(copies=5, every=1, longer=3.0)


@dataclass(frozen=True, slots=True)
class Workload:
    """``diurnal`` ones swing over hours; on ``stationary`` ones the best plan is to hold still."""

    name: str
    flags: Callable[[Path, Size], dict[str, str]]
    engine: dict[str, str]
    diurnal: bool = False
    stationary: bool = False

    def settings(self, traces: Path, size: Size, seeds: tuple[int, ...], start_up: int) -> Settings:
        said = {"seed": ",".join(map(str, seeds)), "start_up": f"{start_up}s"}
        return read_settings(said | BOUNDS | self.engine | self.flags(traces, size))


def _recorded(name: str, excerpt: str | None, copies: int) -> Callable[[Path, Size], dict[str, str]]:
    def flags(traces: Path, size: Size) -> dict[str, str]:
        path = beside_copies(traces / f"{name}.csv.gz", size.copies * copies)
        return {"trace": str(path), "thin": "0.9"} | ({"excerpt": excerpt} if excerpt else {})

    return flags


def _rates(name: str, day: int, mean: float) -> Callable[[Path, Size], dict[str, str]]:
    def flags(traces: Path, size: Size) -> dict[str, str]:
        return {"trace": str(day_of_rates(traces / f"{name}.csv.gz", day=day, every=size.every, mean=mean))}

    return flags


def _drawn(name: str, rate: float, minutes: float) -> Callable[[Path, Size], dict[str, str]]:
    def flags(_: Path, size: Size) -> dict[str, str]:
        return {"workload": name, "rate": str(rate), "duration": f"{minutes * size.longer:g}m"}

    return flags


WORKLOADS: Final = (
    Workload("azure2023_conv", _recorded("azure2023_conv", None, 1), LARGE, diurnal=True),
    Workload("azure2024_code", _rates("rates_azure2024_code_week", 3, 6.0), PATIENT, diurnal=True),
    Workload("servegen_mlarge", _rates("rates_servegen_mlarge_week1", 1, 8.0), LARGE, diurnal=True),
    Workload("servegen_mmimage", _rates("rates_servegen_mmimage_day", 0, 6.0), LARGE, diurnal=True),
    Workload("mlarge requests", _recorded("requests_servegen_mlarge_day3", "8h..9h", 4), LARGE),
    Workload("phase-inversion", _drawn("phase-inversion", 4.0, 60), SMALL),
    Workload("bursty", _drawn("bursty", 4.0, 60), LARGE),
    Workload("conversation", _drawn("conversation", 6.0, 60), LARGE, stationary=True),
)


def day_of_rates(source: Path, *, day: int, every: int, mean: float, folder: Path = MADE) -> Path:
    """Every n-th window of a day in an n-th of its time, at ``mean`` requests per second; written once."""
    path = folder / f"{source.name.split('.')[0]}_day{day}_every{every}_mean{mean:g}.csv"
    if path.exists():
        return path
    with gzip.open(source, "rt", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row.get("gap", "0") in ("", "0")]
    start = 86_400.0 * day
    kept = [row for row in rows if start <= float(row["timestamp_s"]) < start + 86_400][::every]
    if not kept:
        raise ValueError(f"{source.name}: day {day} must have windows with data, got none")
    factor = mean * len(kept) / sum(float(row["requests_per_s"]) for row in kept)
    at = 0.0
    for row in kept:
        seconds, rate = float(row["window_s"]) / every, float(row["requests_per_s"])
        tokens = row.get("input_tokens_per_s")  # a rate of tokens belongs to the rate as it was
        row |= {"mean_input_tokens": f"{float(tokens) / rate:.6g}"} if tokens and rate else {}
        row |= {
            "timestamp_s": f"{at:g}",
            "window_s": f"{seconds:g}",
            "requests_per_s": f"{rate * factor:.6g}",
        }
        at += seconds
    wanted = ("timestamp_s", "window_s", "requests_per_s", "mean_input_tokens", "mean_output_tokens")
    columns = [name for name in wanted if any(row.get(name) for row in kept)]
    _write(path, columns, kept)
    return path


def beside_copies(source: Path, copies: int, folder: Path = MADE) -> Path:
    """Requests and so many copies less one of them, each request of a copy up to 20 s later; written once."""
    if copies == 1:
        return source
    path = folder / f"{source.name.split('.')[0]}_times{copies}.csv"
    if path.exists():
        return path
    rng = random.Random(f"copies {copies}")
    with gzip.open(source, "rt", newline="") as lines:
        rows = [{name: row.get(name, "") for name in _COLUMNS} for row in csv.DictReader(lines)]
    if any(row["session_id"] for row in rows):
        raise ValueError(f"{source.name}: copies need requests without sessions, got some with")
    found = [
        row | {"timestamp_s": f"{float(row['timestamp_s']) + 20 * rng.random() * (k > 0):.4f}"}
        for k in range(copies)
        for row in rows
    ]
    _write(path, list(_COLUMNS), sorted(found, key=lambda row: float(row["timestamp_s"])))
    return path


def _write(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
