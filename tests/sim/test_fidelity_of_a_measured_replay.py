"""The simulated engine against vLLM on a GPU: 300 requests as they were measured, nothing fitted to them.

The profile is the grid of that GPU, model and engine; what a server adds to bare GPU time is the rule of the
profiles' README, from other measurements on another GPU. Percentiles and tolerance are the issue's.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.sim.fidelity import (
    FILES,
    GRID,
    REPLAY,
    RULE_FACTOR,
    RULE_OVERHEAD,
    TOLERANCE,
    compared,
    replayed,
    worker_factor,
)

from pdscale.perf.model import PerformanceModel
from pdscale.perf.scaled import Scaled
from pdscale.sim.records import Outcome
from pdscale.workload.load import load_fit, load_measured_replay, load_model


@pytest.fixture
def profiles() -> Path:
    folder = Path(os.environ.get("PDSCALE_PROFILES", ""))
    missing = [name for name in FILES if not (folder / name).exists()]
    if missing:
        pytest.skip(f"PDSCALE_PROFILES names no folder with {', '.join(missing)}")
    return folder


def _model(folder: Path, form: str) -> PerformanceModel:
    return load_model(folder / GRID) if form == "grid" else load_fit(folder / GRID).profile


@pytest.mark.parametrize("form", ["grid", "fit"])
def test_measured_percentiles_are_met_within_the_tolerance(profiles: Path, form: str) -> None:
    replay = load_measured_replay(profiles / REPLAY)
    result = replayed(replay, Scaled(_model(profiles, form), RULE_FACTOR), overhead=RULE_OVERHEAD)
    assert set(result.outcome) == {Outcome.SERVED}
    judged = [c for c in compared(replay, result) if c.figure in {"TTFT", "TPOT"}]
    assert [(c.figure, c.percentile) for c in judged] == [
        ("TTFT", 50),
        ("TTFT", 90),
        ("TPOT", 50),
        ("TPOT", 90),
    ]
    for c in judged:
        assert c.off <= TOLERANCE, c


def test_a_grid_without_its_server_misses_them(profiles: Path) -> None:
    """A tenth of step time is a quarter of TTFT here: requests wait for sequences that end."""
    replay = load_measured_replay(profiles / REPLAY)
    by_name = {
        (c.figure, c.percentile): c for c in compared(replay, replayed(replay, _model(profiles, "grid")))
    }
    assert 0.85 < by_name["TPOT", 50].ratio < 1
    assert by_name["TTFT", 50].ratio < 1 - TOLERANCE


def test_the_factor_measured_on_another_gpu_is_near_the_rule(profiles: Path) -> None:
    assert worker_factor(profiles) == pytest.approx(RULE_FACTOR, rel=0.03)


def test_a_percentile_that_is_off_is_seen(profiles: Path) -> None:
    """The comparison itself: a replay whose requests took twice as long is no longer met."""
    replay = load_measured_replay(profiles / REPLAY)
    slower = replace(replay, tpot=type(replay.tpot)("d", (2 * t for t in replay.tpot)))
    result = replayed(replay, Scaled(_model(profiles, "grid"), RULE_FACTOR), overhead=RULE_OVERHEAD)
    pairs = zip(compared(replay, result), compared(slower, result), strict=True)
    for before, after in pairs:
        assert after.measured == (2 if after.figure == "TPOT" else 1) * before.measured
