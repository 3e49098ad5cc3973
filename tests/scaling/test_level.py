"""A load that stays is known ever better; one that moves is known by what came since."""

import math
import random

import pytest

from pdscale.scaling.level import level_of_rate, level_of_streams
from pdscale_forecaster.series import Series

STEP = 15.0


def rate(*values: float) -> Series:
    return Series(0.0, STEP, values)


def counted(rng: random.Random, expected: list[float]) -> Series:
    """Poisson arrivals in steps, as rates."""
    counts = []
    for mean in expected:
        now, count = rng.expovariate(1.0), 0
        while now < mean * STEP:
            now, count = now + rng.expovariate(1.0), count + 1
        counts.append(count / STEP)
    return Series(0.0, STEP, tuple(counts))


def test_half_an_hour_of_the_same_load_is_one_level() -> None:
    found = level_of_rate(rate(*[5.0] * 120), now=60)
    assert found is not None
    assert (found.mean, found.since, found.steady) == (5.0, 1800.0, True)


def test_counts_of_a_load_that_stays_are_told_to_a_few_percent() -> None:
    rng = random.Random(7)
    series = counted(rng, [5.0] * 480)
    for end in range(120, 480, 7):
        found = level_of_rate(Series(0.0, STEP, series.values[end - 120 : end]), now=60)
        assert found is not None
        assert found.mean == pytest.approx(5.0, rel=0.13)  # a minute alone is off by 17 % now and then


def test_a_jump_is_known_by_the_minute_that_came_after_it() -> None:
    found = level_of_rate(rate(*[5.0] * 116, *[10.0] * 4), now=60)
    assert found is not None
    assert (found.mean, found.since, found.steady) == (10.0, 60.0, False)


def test_a_slow_rise_is_believed_before_a_fall_as_slow() -> None:
    # Eight minutes differ from the eight before by 2.4 standard errors.
    values = [16.0 + 2.5 * k / 119 for k in range(120)]
    up, down = (level_of_rate(rate(*told), now=60) for told in (values, values[::-1]))
    assert up is not None
    assert down is not None
    assert (up.since, down.since) == (480.0, 960.0)


def test_bursts_that_are_usual_are_no_change() -> None:
    quiet, loud = [5.0] * 112 + [8.0] * 8, [2.0, 8.0] * 56 + [8.0] * 8
    found = [level_of_rate(rate(*values), now=60) for values in (quiet, loud)]
    assert [level.since if level else None for level in found] == [120.0, 1920.0 - 120.0]


def test_nothing_known_is_no_level_and_gaps_are_not_zero() -> None:
    assert level_of_rate(rate(*[math.nan] * 8), now=60) is None
    found = level_of_rate(rate(*[5.0, math.nan] * 60), now=60)
    assert found is not None
    assert found.mean == 5.0


def test_one_crowd_of_streams_is_one_sample_however_often_it_is_read() -> None:
    """12 of 30 streams for two minutes are chance where streams stay for 5 minutes, not where for 5 s."""
    series = rate(*[30.0] * 112, *[12.0] * 8)
    short, long = (level_of_streams(series, now=45, most=math.inf, crowd=s) for s in (5.0, 300.0))
    assert short is not None
    assert long is not None
    assert short.mean == 12.0
    assert long.mean == pytest.approx((112 * 30 + 8 * 12) / 120)


def test_streams_are_not_looked_for_beyond_the_mix() -> None:
    found = level_of_streams(rate(*[30.0] * 120), now=45, most=120.0, crowd=5.0)
    assert found is not None
    assert found.since <= 120.0


def test_a_load_that_was_another_one_has_to_stay_longer_before_it_is_called_steady() -> None:
    always, lately = (level_of_rate(rate(*[other] * 20, *[5.0] * 36), now=60) for other in (5.0, 50.0))
    assert always is not None
    assert lately is not None
    assert always.since > lately.since >= 480.0
    assert always.steady
    assert not lately.steady
