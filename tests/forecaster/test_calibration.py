"""The record of a model: quantiles that hold, errors only when they are known, and who is believed."""

import gc
import math
import tracemalloc
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale_forecaster.calibration import Record
from pdscale_forecaster.early import Scale
from pdscale_forecaster.selection import best_of, poor_coverage
from pdscale_forecaster.verdict import LEVELS

GAP = math.nan


def _record(steps: int = 1, *, quantile: float = 0.9, mean: float = 1.0) -> Record:
    return Record(steps, quantile, least=20, mean=mean, seen=10)


def _lived(record: Record, values: Iterable[float], forecast: float) -> Record:
    for value in values:
        record.step(float(value), forecast)
    return record


def _noise(samples: int, *, scale: float = 0.1, seed: int = 1) -> list[float]:
    drawn = 1.0 + np.random.default_rng(seed).normal(0, scale, samples)
    return [float(v) for v in np.maximum(0.0, drawn)]


def test_an_error_counts_when_it_has_come_to_light_and_not_before() -> None:
    record = _record(10)
    _lived(record, [1.0] * 10, 1.0)
    assert record.errors == 0
    _lived(record, [1.0], 1.0)
    assert record.errors == 1


def test_a_new_regime_shows_in_quantiles_only_once_its_first_error_is_known() -> None:
    record = _lived(_record(10), [1.0] * 60, 1.0)
    before = []
    for _ in range(10):
        record.step(5.0, 1.0)
        assert record.last is not None
        before.append(record.at(0.9, record.last))
    # The error of what was said at the last quiet sample is known at the tenth loud one: still in line here.
    assert before[0] == pytest.approx(1.0)
    _lived(record, [5.0] * 60, 1.0)
    assert record.last is not None
    assert record.at(0.9, record.last) > 2.0


def test_nothing_is_learnt_of_size_and_width_from_forecasts_that_share_their_time() -> None:
    # Ten ahead, 150 errors: fifteen that tell something of their own. Wild ones first, then quiet ones.
    record = Record(10, 0.9, least=20, mean=1.0, seen=10, scale=Scale.LOAD)
    _lived(record, [*_noise(100, scale=0.3), *_noise(60, scale=0.01)], 1.0)
    assert record.errors == 150
    assert record.last is not None
    wild = sorted(_noise(100, scale=0.3)[10:] + _noise(60, scale=0.01))
    # Rank 151 * 0.9 = 135.9: all errors count alike.
    assert record.at(0.9, record.last) == pytest.approx(wild[135])
    _lived(record, _noise(200, scale=0.01, seed=2), 1.0)
    assert record.at(0.9, record.last) < 1.0 + (wild[135] - 1.0) / 2


def test_early_errors_of_the_last_value_are_ratios_that_reach_back_to_the_first_sample() -> None:
    values = [1.0, 2.0, 1.0, 3.0, 1.0, 4.0] * 10
    record = Record(1, 0.5, least=20, mean=2.0, seen=50, scale=Scale.LOAD)
    record.recall(values[:50], values[:50])
    assert record.errors == 0
    for value in values[50:54]:
        record.step(value, value)
    ratios = sorted(came / was for was, came in pairwise(values[:54]))
    assert record.last is not None
    # 53 ratios, rank 54 * 0.5 = 27.
    assert record.at(0.5, record.last) == pytest.approx(values[53] * ratios[26])


def test_few_errors_at_the_lead_are_as_wide_as_those_a_sample_ahead_times_their_growth() -> None:
    record = Record(10, 0.9, least=20, mean=1.0, seen=10)
    record.relearn([1.0, *_noise(20)], [1.0] * 21, 3.0)
    _lived(record, _noise(40, seed=2), 1.0)
    assert record.last is not None
    # Each relative to two, forecast and mean; of the first fit's past a quarter teaches.
    near = sorted([v - 1.0 for v in _noise(20)[5:] + _noise(40, seed=2)[1:]])
    middle, high = near[27], near[49]
    said = record.last
    assert record.at(0.9, said) == pytest.approx(1.0 + middle + 3.0 * (high - middle), rel=0.02)


def test_an_idle_instant_has_no_ratio_and_is_forecast_all_the_same() -> None:
    record = Record(10, 0.9, least=20, mean=1.0, seen=10, scale=Scale.LOAD)
    for value in [0.0, 1.0] * 40:
        record.step(value, value)
    record.step(0.0, 0.0)
    assert record.last is not None
    assert math.isfinite(record.at(0.9, record.last))


def test_unknown_samples_are_neither_said_nor_learnt() -> None:
    record = _lived(_record(1), [1.0, GAP, 1.0, GAP, GAP, 1.0, 1.0], 1.0)
    # Only the last pair of neighbours is known on both sides.
    assert record.errors == 1
    record.step(GAP, 1.0)
    assert record.last is None


@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.9, 0.95])
def test_quantiles_of_noise_hold_as_often_as_they_say(quantile: float) -> None:
    record = _lived(_record(quantile=quantile), _noise(1500), 1.0)
    assert record.verdict.coverage() == pytest.approx(quantile, abs=0.04)


def test_coverage_survives_a_load_that_grows_wilder() -> None:
    wild = [v for scale in (0.05, 0.1, 0.2, 0.3) for v in _noise(300, scale=scale, seed=int(scale * 100))]
    assert _lived(_record(), wild, 1.0).verdict.coverage(judged=True) == pytest.approx(0.9, abs=0.03)


def test_quiet_hours_get_a_narrow_quantile_and_wild_ones_a_wide_one() -> None:
    record = _lived(_record(), _noise(400, scale=0.3), 1.0)
    assert record.last is not None
    wild = record.at(0.9, record.last)
    _lived(record, _noise(200, scale=0.02), 1.0)
    assert 1.0 < record.at(0.9, record.last) < 1.0 + (wild - 1.0) / 3


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.one_of(st.just(GAP), st.floats(0, 10)), min_size=60, max_size=150),
    said=st.floats(0, 10),
    one=st.floats(0.05, 0.95),
    other=st.floats(0.05, 0.95),
)
def test_a_higher_quantile_is_never_lower_whatever_came(
    values: list[float], said: float, one: float, other: float
) -> None:
    record = _lived(_record(), [*values, *[1.0] * 25], said)
    assert record.last is not None
    low, high = sorted((one, other))
    assert 0.0 <= record.at(low, record.last) <= record.at(high, record.last) < math.inf


def test_the_better_model_is_chosen_once_it_is_clearly_better() -> None:
    values = _noise(300)
    good, bad = _lived(_record(), values, 1.0), _record()
    for value in values:
        bad.step(value, value)  # the last value, on noise
    assert best_of({"Last": bad, "Level": good}).name == "Level"


def test_forecasts_that_overlap_are_not_taken_for_evidence() -> None:
    good, bad = _record(100), _record(100)
    for value in _noise(350):
        good.step(value, 1.0)
        bad.step(value, value)
    # 131 were judged, each 100 steps ahead: hardly more than one that is independent of the others.
    assert good.verdict.judged == 131
    assert best_of({"Last": bad, "Level": good}).name == "Last"


def test_a_tie_goes_to_the_first() -> None:
    twins = {name: _lived(_record(), _noise(300), 1.0) for name in ("A", "B")}
    assert best_of(twins).name == "A"


def _breaking_its_word() -> Record:
    """A load that rises, said sixty samples ahead: what was said before comes to light as misses."""
    record = _lived(_record(60), _noise(130, scale=0.01), 1.0)
    return _lived(record, [2.0 + 0.1 * i for i in range(60)], 1.0)


def test_a_model_that_breaks_its_word_switches_itself_off_and_says_so() -> None:
    broken = _breaking_its_word()
    share = poor_coverage(broken)
    assert share is not None
    honest = _lived(_record(), _noise(300), 1.0)
    choice = best_of({"Broken": broken, "Honest": honest})
    assert choice.name == "Honest"
    assert f"Broken switched off: {share:.0%} of its 0.9-quantiles held" in choice.reason


def test_when_all_are_off_the_least_wrong_is_used_and_that_is_said() -> None:
    choice = best_of({"A": _breaking_its_word(), "B": _breaking_its_word()})
    assert choice.name == "A"
    assert choice.reason.endswith("the best of them is used")


def test_models_are_compared_by_the_same_quantiles_whatever_is_asked() -> None:
    asked = [_lived(_record(quantile=q), _noise(200), 1.0) for q in (0.6, 0.99)]
    assert asked[0].verdict.losses == asked[1].verdict.losses
    assert tuple(asked[0].verdict.losses) == LEVELS


def test_a_record_that_has_lived_for_long_takes_no_more_than_forty_kibibytes() -> None:
    values = _noise(4000)
    tracemalloc.start()
    try:
        record = _lived(_record(), values, 1.0)
        gc.collect()  # the interpreter's own store of tuples, too
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert record.errors == 3999
    assert size < 40 * 1024
