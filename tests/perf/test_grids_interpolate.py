"""A grid is exact where it was measured, sensible between and beyond, and like a profile to its users."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale.perf.builtin import BUILTIN
from pdscale.perf.curve import Curve, curve, never_falling
from pdscale.perf.engine import Engine
from pdscale.perf.grid import columns, grid_model
from pdscale.perf.measurements import DecodePoint, Measurements, PrefillPoint
from pdscale.perf.refit import model_errors

TRUE = BUILTIN["llama-3.1-70b-h100-tp4"]
ENGINE = Engine.of(TRUE)
NEW = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384)
HISTORY = (0, 512, 4096, 32_768)
BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONTEXT = (128, 1024, 4096, 16_384)
POINTS = Measurements(
    "made up",
    prefill=tuple(PrefillPoint(1, n, h, TRUE.prefill_seconds(n, h)) for n in NEW for h in HISTORY),
    decode=tuple(DecodePoint(b, b * c, TRUE.step_seconds(b, b * c)) for b in BATCH for c in CONTEXT),
)
GRID = grid_model(POINTS, ENGINE)


def test_measured_points_come_back_as_they_were() -> None:
    errors = model_errors(GRID, POINTS)
    assert errors.prefill is not None
    assert errors.prefill.largest < 1e-12
    assert errors.decode is not None
    assert errors.decode.largest < 1e-12


@settings(deadline=None)
@given(st.integers(16, 16_384), st.integers(0, 40_000))
def test_between_points_of_a_known_law_a_prefill_is_close_to_it(new: int, history: int) -> None:
    # The law itself jumps by up to 20 % where its pieces meet; the worst of a quadratic between doubled
    # columns is (dx/2)^2 c of attention, a few percent.
    assert GRID.prefill_seconds(new, history) == pytest.approx(TRUE.prefill_seconds(new, history), rel=0.25)


@settings(deadline=None)
@given(st.integers(1, 64), st.integers(128, 16_384))
def test_between_batches_of_one_piece_a_step_is_exact(batch: int, each: int) -> None:
    context = batch * each
    assert GRID.step_seconds(batch, context) == pytest.approx(TRUE.step_seconds(batch, context), rel=1e-9)


def test_short_prompts_together_cost_less_attention_than_one_long_one() -> None:
    together = GRID.prefill_batch_seconds([(512, 0)] * 16)
    assert together < GRID.prefill_seconds(8192)
    assert together == pytest.approx(TRUE.prefill_batch_seconds([(512, 0)] * 16), rel=1e-9)


def test_below_the_grid_times_are_level_and_beyond_it_they_go_on() -> None:
    assert GRID.prefill_seconds(1) == GRID.prefill_seconds(16)
    slope = (GRID.prefill_seconds(16_384) - GRID.prefill_seconds(8192)) / 8192
    assert GRID.prefill_seconds(20_000) == pytest.approx(
        GRID.prefill_seconds(16_384) + slope * (20_000 - 16_384)
    )
    assert GRID.step_seconds(300, 300_000) > GRID.step_seconds(256, 300_000)
    assert GRID.step_seconds(1, 50_000) == pytest.approx(TRUE.step_seconds(1, 50_000))


def test_nothing_to_do_takes_no_time() -> None:
    assert GRID.prefill_seconds(0, 100) == 0
    assert GRID.prefill_batch_seconds([]) == 0
    assert GRID.step_seconds(0, 0) == 0
    assert GRID.transfer_seconds(0) == 0
    assert GRID.iteration_seconds([(0, 9)], batch=0, context=0) == 0


def test_a_mixed_step_follows_the_rule_of_profiles() -> None:
    mixed = GRID.iteration_seconds([(1016, 0)], batch=8, context=8192)
    assert mixed == pytest.approx(TRUE.iteration_seconds([(1016, 0)], batch=8, context=8192), rel=0.01)
    assert GRID.iteration_seconds([(0, 0)], batch=8, context=8192) == GRID.step_seconds(8, 8192)
    assert GRID.iteration_seconds([(100, 0)], batch=0, context=0) == GRID.prefill_seconds(100)


def test_memory_and_network_are_the_engines() -> None:
    assert (GRID.name, GRID.kv_capacity) == (TRUE.name, TRUE.kv_capacity)
    assert (GRID.max_batched_tokens, GRID.max_sequences) == (TRUE.max_batched_tokens, TRUE.max_sequences)
    assert GRID.kv_bytes_per_token == TRUE.kv_bytes_per_token
    assert GRID.transfer_seconds(5000) == TRUE.transfer_seconds(5000)


def test_a_column_of_one_point_takes_its_neighbours_slope_per_pair() -> None:
    ragged = Measurements(
        "ragged",
        prefill=(
            PrefillPoint(1, 100, 0, 0.01),
            PrefillPoint(1, 100, 1000, 0.02),
            PrefillPoint(1, 200, 500, 0.03),
        ),
        decode=(DecodePoint(1, 100, 0.01),),
    )
    model = grid_model(ragged, ENGINE)
    # 10 ms over 100 * 1000 pairs; 200 new tokens with 500 less of history have 100 000 pairs less.
    assert model.prefill_seconds(200, 0) == pytest.approx(0.03 - 0.01)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (Measurements("g", prefill=POINTS.prefill), "g: decode rows are needed .* got none"),
        (
            Measurements("g", prefill=(PrefillPoint(2, 9, 0, 1),), decode=POINTS.decode),
            "g: prefill rows of batch_size 1 are needed .* got none",
        ),
    ],
)
def test_half_a_grid_is_refused(points: Measurements, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid_model(points, ENGINE)


def test_columns_must_ascend() -> None:
    level = curve([(0, 1)])
    with pytest.raises(ValueError, match=r"columns must ascend and be at least 1, got \(8.0, 8.0\)"):
        columns([(8.0, level), (8.0, level)])
    with pytest.raises(ValueError, match="knots must be ascending"):
        Curve((2.0, 1.0), (0.0, 0.0), 0.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1))
def test_raised_dips_leave_no_dip(points: list[tuple[float, float]]) -> None:
    raised = [y for _, y in never_falling(points)]
    assert raised == sorted(raised)
    assert max(raised) == max(y for _, y in points)
