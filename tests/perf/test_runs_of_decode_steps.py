"""The closed form of many steps against the loop it replaces, on every kind of model."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale.perf.builtin import BUILTIN
from pdscale.perf.engine import Engine
from pdscale.perf.grid import grid_model
from pdscale.perf.measurements import DecodePoint, Measurements, PrefillPoint
from pdscale.perf.model import PerformanceModel
from pdscale.perf.profile import Profile, Segment
from pdscale.perf.runs import run_seconds, steps_within
from pdscale.perf.scaled import Scaled

PROFILE = BUILTIN["llama-3.1-8b-h100"]
NEGATIVE_START = Profile(
    name="starts below zero",
    source="made up",
    prefill=(Segment(math.inf, 0.01, 1e-5, 1e-9),),
    decode=(Segment(math.inf, -0.004, 1e-5, 1e-6),),
    kv_capacity=100_000,
    kv_bytes_per_token=1e5,
    transfer_bandwidth=1e9,
)
GRID = grid_model(
    Measurements(
        "made up",
        prefill=(PrefillPoint(1, 100, 0, 0.01), PrefillPoint(1, 1000, 0, 0.05)),
        decode=tuple(
            DecodePoint(b, b * c, 0.005 + b * 1e-5 + min(b * c, 20_000) * 1e-7 + b * c * 2e-8)
            for b in (1, 4, 16, 64)
            for c in (100, 500, 1000, 5000, 20_000)
        ),
    ),
    Engine.of(PROFILE),
)
MODELS: dict[str, PerformanceModel] = {
    "affine": PROFILE,
    "affine from below zero": NEGATIVE_START,
    "grid": GRID,
    "scaled grid": Scaled(GRID, 1.15),
}

models = st.sampled_from(sorted(MODELS))
batches = st.integers(1, 80)
contexts = st.integers(1, 60_000)
counts = st.integers(0, 400)


@settings(deadline=None)
@given(models, batches, contexts, counts)
def test_a_run_takes_as_long_as_its_steps_one_by_one(name: str, batch: int, context: int, steps: int) -> None:
    model = MODELS[name]
    one_by_one = sum(model.step_seconds(batch, context + k * batch) for k in range(steps))
    assert run_seconds(model, batch, context, steps) == pytest.approx(one_by_one, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(models, batches, contexts, st.floats(0, 5), counts)
def test_as_many_steps_are_made_as_fit(
    name: str, batch: int, context: int, seconds: float, most: int
) -> None:
    model = MODELS[name]
    steps = steps_within(model, batch, context, seconds=seconds, most=most)
    assert 0 <= steps <= most
    assert run_seconds(model, batch, context, steps) <= seconds * (1 + 1e-9) + 1e-12
    if steps < most:
        assert run_seconds(model, batch, context, steps + 1) >= seconds * (1 - 1e-9)


@settings(deadline=None)
@given(models, batches, contexts, st.integers(0, 60_000))
def test_a_line_is_the_step_time_as_far_as_it_reaches(name: str, batch: int, context: int, on: int) -> None:
    model = MODELS[name]
    line = model.step_line(batch, context)
    assert line.up_to >= context
    at = min(context + on, line.up_to)
    assert line.seconds(at) == pytest.approx(model.step_seconds(batch, at), rel=1e-9, abs=1e-12)


def test_no_sequences_make_no_run() -> None:
    assert run_seconds(PROFILE, 0, 0, 10) == 0
    assert steps_within(PROFILE, 0, 0, seconds=1, most=10) == 0
    assert PROFILE.step_line(0, 0).seconds(100) == 0
