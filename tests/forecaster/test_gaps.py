"""Gaps are bridged for looking back, split where they are long, and never filled with zero."""

import math

import numpy as np
import pytest

from pdscale_forecaster.gaps import bridge_short, carry_forward, resample, run_starts
from pdscale_forecaster.series import Series

GAP = math.nan


def _same(actual: object, expected: list[float]) -> None:
    np.testing.assert_array_equal(np.asarray(actual), np.array(expected))


@pytest.mark.parametrize(
    ("values", "bridged"),
    [
        pytest.param([1.0, GAP, 3.0], [1.0, 2.0, 3.0], id="short"),
        pytest.param([1.0, GAP, GAP, GAP, 3.0], [1.0, GAP, GAP, GAP, 3.0], id="long"),
        pytest.param([GAP, 1.0, GAP], [GAP, 1.0, GAP], id="at the ends"),
        pytest.param([GAP, GAP], [GAP, GAP], id="nothing known"),
        pytest.param([], [], id="empty"),
    ],
)
def test_only_short_gaps_with_two_known_ends_are_bridged(values: list[float], bridged: list[float]) -> None:
    _same(bridge_short(np.array(values), longest=2), bridged)


def test_a_long_gap_ends_a_run() -> None:
    _same(run_starts(np.array([1.0, 2.0, GAP, GAP, 3.0, 4.0])), [0, 0, 2, 3, 4, 4])


def test_the_last_known_sample_is_carried_over_a_gap() -> None:
    _same(carry_forward(np.array([GAP, 1.0, GAP, 2.0])), [GAP, 1.0, 1.0, 2.0])


def test_a_coarser_series_holds_means_stamped_with_the_last_instant_of_each_bin() -> None:
    coarse = resample(Series(100.0, 5.0, (9.0, 1.0, 3.0, 5.0, 7.0)), 10.0)
    assert coarse == Series(110.0, 10.0, (2.0, 6.0))


def test_a_bin_of_which_little_is_known_is_a_gap() -> None:
    coarse = resample(Series(0.0, 5.0, (1.0, GAP, GAP, GAP, 4.0, 6.0, GAP, 8.0)), 20.0)
    assert math.isnan(coarse.values[0])
    assert coarse.values[1] == 6.0


@pytest.mark.parametrize("step", [2.0, 7.0])
def test_bins_that_samples_do_not_fill_are_refused(step: float) -> None:
    with pytest.raises(ValueError, match=r"step must be a multiple of series.step \(5.0s\)"):
        resample(Series(0.0, 5.0, (1.0, 2.0)), step)
