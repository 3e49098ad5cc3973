"""Fits find what made the points, refuse what cannot be fitted, and say how far off they are."""

import math
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.perf.builtin import BUILTIN, GRIDS
from pdscale.perf.engine import Engine
from pdscale.perf.fitting import fit_affine, relative_error
from pdscale.perf.measurements import DecodePoint, Measurements, MixedPoint, PrefillPoint, TransferPoint
from pdscale.perf.profile import Profile
from pdscale.perf.refit import fit_profile, fit_transfer, model_errors

ENGINE = Engine.of(BUILTIN["llama-3.1-8b-h100"])


def points_of(profile: Profile, *, noise: float = 0.0, rng: random.Random | None = None) -> Measurements:
    """What a perfect measurement of ``profile`` would give, each point off by up to ``noise``."""

    def off() -> float:
        return 1 + (rng.uniform(-noise, noise) if rng else 0.0)

    return Measurements(
        "made up",
        prefill=tuple(
            PrefillPoint(b, n, h, off() * profile.prefill_batch_seconds([(n, h)] * b))
            for b in (1, 2)
            for n in (16, 48, 100, 200, 400, 800, 2000, 5000, 9000)
            for h in (0, 1000, 8000)
        ),
        decode=tuple(
            DecodePoint(b, b * c, off() * profile.step_seconds(b, b * c))
            for b in (1, 4, 16, 32, 64, 96, 128, 160, 200, 240)
            for c in (100, 1000, 4000)
        ),
        mixed=(
            MixedPoint(512, 0, 16, 16_000, profile.iteration_seconds([(512, 0)], batch=16, context=16_000)),
        ),
    )


@pytest.mark.parametrize("name", ["llama-3.1-8b-h100", "llama-3.1-70b-a100-tp8", "qwen3-32b-h100-tp2"])
def test_a_fit_finds_the_coefficients_that_made_the_points(name: str) -> None:
    fit = fit_profile(points_of(BUILTIN[name]), ENGINE, rng=random.Random(1))
    for found, true in zip(
        fit.profile.prefill + fit.profile.decode, BUILTIN[name].prefill + BUILTIN[name].decode, strict=True
    ):
        assert found.up_to == true.up_to
        assert found.fixed == pytest.approx(true.fixed, rel=1e-5, abs=1e-9)
        assert found.per_item == pytest.approx(true.per_item, rel=1e-5)
        assert found.per_pair == pytest.approx(true.per_pair, rel=1e-5)
    for errors in (fit.errors, fit.held_out):
        assert errors.prefill is not None
        assert errors.prefill.largest < 1e-6
        assert errors.decode is not None
        assert errors.decode.largest < 1e-6
        assert errors.mixed is not None
        assert errors.mixed.largest < 1e-6


def test_a_fit_of_noisy_points_is_off_by_less_than_the_noise() -> None:
    rng = random.Random(7)
    true = BUILTIN["llama-3.1-8b-h100"]
    fit = fit_profile(points_of(true, noise=0.1, rng=rng), ENGINE, rng=rng)
    assert fit.held_out.prefill is not None
    assert 0.01 < fit.held_out.prefill.median < 0.1
    against_truth = model_errors(fit.profile, points_of(true))
    assert against_truth.prefill is not None
    assert against_truth.prefill.p90 < 0.1


@given(
    st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)), min_size=4, max_size=20),
    st.data(),
)
def test_slopes_are_never_negative(rows: list[tuple[float, float]], data: st.DataObject) -> None:
    measured = data.draw(st.lists(st.floats(0.1, 10), min_size=len(rows), max_size=len(rows)))
    _, *slopes = fit_affine(rows, measured)
    assert min(slopes) >= 0


def test_a_falling_measurement_is_fitted_by_a_level_line() -> None:
    constant, slope = fit_affine([(1.0,), (2.0,), (3.0,)], [3.0, 2.0, 1.0])
    assert slope == 0
    assert 1 < constant < 2  # relative errors pull it towards the small values


def test_columns_that_depend_on_each_other_still_give_a_fit() -> None:
    constant, first, second = fit_affine([(x, 2 * x) for x in (1.0, 2.0, 5.0, 9.0)], [3.0, 5.0, 11.0, 19.0])
    assert constant == pytest.approx(1)
    assert first + 2 * second == pytest.approx(2)


def test_few_points_make_one_piece() -> None:
    few = Measurements(
        "few",
        prefill=tuple(
            PrefillPoint(1, n, 0, 0.01 + n * 1e-5 + n * n / 2 * 1e-9) for n in (100, 500, 2000, 9000)
        ),
        decode=tuple(
            DecodePoint(b, b * c, 0.005 + b * 1e-5 + b * c * 1e-8) for b in (1, 99) for c in (10, 1000)
        ),
    )
    profile = fit_profile(few, ENGINE, rng=random.Random(0)).profile
    assert [s.up_to for s in profile.prefill] == [math.inf]
    assert [s.up_to for s in profile.decode] == [math.inf]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (Measurements("sweep", prefill=(PrefillPoint(1, 9, 0, 1),) * 5), "sweep: .* 3 decode points, got 0"),
        (Measurements("steps", decode=(DecodePoint(1, 9, 1),) * 5), "steps: .* 3 prefill points, got 0"),
    ],
)
def test_half_an_engine_is_no_fit(points: Measurements, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_profile(points, ENGINE, rng=random.Random(0))


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="a fit of 3 coefficients needs at least 3 points, got 2"):
        fit_affine([(1.0, 2.0), (2.0, 5.0)], [1.0, 2.0])
    with pytest.raises(ValueError, match="needs at least 1 point, got 0"):
        relative_error([], [])


def test_a_transfer_fit_finds_latency_and_bandwidth() -> None:
    points = [TransferPoint(s, 20e-6 + s / 36e9) for s in (2e3, 1e5, 1e6, 6e7)]
    fixed, bandwidth, error = fit_transfer(points)
    assert fixed == pytest.approx(20e-6)
    assert bandwidth == pytest.approx(36e9)
    assert error.largest < 1e-9


def test_transfers_that_do_not_grow_are_refused() -> None:
    with pytest.raises(ValueError, match="must grow with size"):
        fit_transfer([TransferPoint(1e3, 2e-3), TransferPoint(1e6, 1e-3)])


def test_errors_are_quantiles_of_the_relative_error() -> None:
    error = relative_error([1.1, 2.0, 2.4, 4.0, 10.0], [1.0, 2.0, 2.0, 4.0, 5.0])
    assert error.points == 5
    assert error.median == pytest.approx(0.1)
    assert error.largest == pytest.approx(1.0)
    assert error.p90 == pytest.approx(0.2 + 0.6 * 0.8)  # between the fourth, 0.2, and the fifth, 1.0
    assert str(error) == "median 10.0%, P90 68.0% of 5 points"


@pytest.mark.parametrize(("grid", "name"), sorted(GRIDS.items()))
def test_built_in_coefficients_come_from_their_grid(grid: str, name: str) -> None:
    from pdscale.workload.load import load_fit

    folder = os.environ.get("PDSCALE_PROFILES", "")
    path = Path(folder) / f"grid_{grid}.csv.gz"
    if not folder or not path.exists():
        pytest.skip(f"PDSCALE_PROFILES names no folder with {path.name}")
    fitted = load_fit(path).profile
    built_in = BUILTIN[name]
    for found, given_ in zip(fitted.prefill + fitted.decode, built_in.prefill + built_in.decode, strict=True):
        assert found.up_to == given_.up_to
        for field in ("fixed", "per_item", "per_pair"):
            assert getattr(found, field) == pytest.approx(getattr(given_, field), rel=2e-4), field
