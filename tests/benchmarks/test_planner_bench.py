"""The planner's benchmark: what is made of other people's files, and what is told of runs."""

import csv
import gzip
from pathlib import Path

import pytest
from benchmarks.planner.__main__ import replaced
from benchmarks.planner.figures import rows_of, table_of
from benchmarks.planner.runs import STATIC, Ran, near
from benchmarks.planner.workloads import WORKLOADS, beside_copies, day_of_rates

from pdscale.model.pools import Targets
from pdscale.scenarios.settings import ScalingName

BEST = Targets(2, 2)
DIURNAL = next(w for w in WORKLOADS if w.diurnal)
STATIONARY = next(w for w in WORKLOADS if w.stationary)


def written(path: Path, header: str, *lines: str) -> Path:
    with gzip.open(path, "wt") as out:
        out.write("\n".join((header, *lines)) + "\n")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_quick_day_keeps_its_swing_and_the_lengths_of_its_requests(tmp_path: Path) -> None:
    lines = [f"{600 * k},600,{10 + k},{(10 + k) * 2000}" for k in range(288)]
    source = written(
        tmp_path / "rates_x.csv.gz", "timestamp_s,window_s,requests_per_s,input_tokens_per_s", *lines
    )
    rows = read(day_of_rates(source, day=1, every=4, mean=6.0, folder=tmp_path))
    rates = [float(row["requests_per_s"]) for row in rows]
    assert len(rows) == 36
    assert (rows[1]["timestamp_s"], rows[1]["window_s"]) == ("150", "150")
    assert sum(rates) / len(rates) == pytest.approx(6.0)
    assert max(rates) / min(rates) == pytest.approx((10 + 284) / (10 + 144), rel=1e-4)
    assert {row["mean_input_tokens"] for row in rows} == {"2000"}


def test_windows_without_data_are_left_out_and_a_day_without_any_is_refused(tmp_path: Path) -> None:
    source = written(
        tmp_path / "rates_y.csv.gz", "timestamp_s,window_s,requests_per_s,gap", "0,600,5,0", "600,600,0,1"
    )
    assert len(read(day_of_rates(source, day=0, every=1, mean=1.0, folder=tmp_path))) == 1
    with pytest.raises(ValueError, match="day 1 must have windows"):
        day_of_rates(source, day=1, every=1, mean=1.0, folder=tmp_path)


def test_copies_are_the_same_requests_a_little_later(tmp_path: Path) -> None:
    source = written(
        tmp_path / "requests_z.csv.gz",
        "timestamp_s,session_id,input_tokens,output_tokens",
        "1.0,,100,10",
        "50.0,,200,20",
    )
    rows = read(beside_copies(source, 3, folder=tmp_path))
    assert [row["input_tokens"] for row in rows] == ["100"] * 3 + ["200"] * 3
    at = [float(row["timestamp_s"]) for row in rows]
    assert at == sorted(at)
    assert (at[0], at[3]) == (1.0, 50.0)
    assert at[2] <= 21.0
    assert beside_copies(source, 1, folder=tmp_path) == source


def test_time_near_the_best_fleet_is_counted_within_the_part_that_is_judged() -> None:
    fleet = [(0.0, 9, 9), (100.0, 3, 2), (150.0, 4, 2), (175.0, 2, 1)]
    assert near(fleet, BEST, start=100.0, stop=200.0) == pytest.approx(0.75)
    assert near(fleet[:1], BEST, start=100.0, stop=200.0) == 0.0


def ran(rule: ScalingName, gpu_hours: float, attainment: float = 0.995, seed: int = 1) -> Ran:
    return Ran("x", 60.0, rule, seed, BEST, attainment, attainment, gpu_hours, 3, 2.0, 0.9)


def test_ratios_are_over_each_rival_and_say_where_it_misses_the_target() -> None:
    found = [
        ran(ScalingName.PDSCALE, 9.0),
        ran(STATIC, 12.0),
        ran(ScalingName.HPA, 8.0, 0.9),
        ran(ScalingName.CLAIRVOYANT, 8.0),
    ]
    rows = {row.metric: row for row in rows_of(DIURNAL, found)}
    static, hpa = rows["GPU-hours over best static's"], rows["GPU-hours over HPA's"]
    assert (static.value, static.ok) == (0.75, True)
    assert (hpa.value, hpa.ok) == (1.125, False)
    assert "HPA attains 90.0 %" in hpa.config
    assert rows["GPU-hours over clairvoyant's"].ok
    assert rows["changes"].value == 1.5
    assert rows["changes"].goal is None


def test_a_rival_is_compared_over_the_seeds_that_it_was_run_on() -> None:
    found = [ran(ScalingName.PDSCALE, 9.0), ran(ScalingName.PDSCALE, 99.0, seed=2), ran(STATIC, 12.0)]
    (static,) = (row for row in rows_of(DIURNAL, found) if "static" in row.metric)
    assert static.value == 0.75


def test_a_run_takes_the_place_of_the_same_one_before_and_of_no_other() -> None:
    before = [ran(STATIC, 12.0), ran(ScalingName.PDSCALE, 9.0), ran(ScalingName.PDSCALE, 9.5, seed=2)]
    new = ran(ScalingName.PDSCALE, 8.0)
    assert replaced(before, [new]) == [before[0], before[2], new]


def test_on_a_stationary_workload_holding_still_is_a_goal() -> None:
    rows = {row.metric: row for row in rows_of(STATIONARY, [ran(ScalingName.PDSCALE, 9.0)])}
    assert rows["changes"].ok is False
    assert rows["time within a replica of the best fleet"].ok is False


def test_the_table_has_a_line_for_each_rule() -> None:
    lines = table_of([ran(STATIC, 12.0), ran(ScalingName.PDSCALE, 9.0)]).splitlines()
    assert lines[2:] == [
        "| x | 60 | 1 | Pdscale | 99.50 | 99.50 | 9.0 | 1.5 | 2P+2D |",
        "| x | 60 | 1 | Static | 99.50 | 99.50 | 12.0 | 1.5 | 2P+2D |",
    ]
