"""A history that waits for its turn is packed, and loses nothing by it."""

import math
import tracemalloc
from dataclasses import fields

from pdscale.scaling.history import History
from pdscale_forecaster.series import Series

SAMPLES = 120
GAP = 7


def history() -> History:
    """Another value in each place, a gap in each series, and no estimates of routers."""

    def series(number: int) -> Series:
        values = [number + i / 10 for i in range(SAMPLES)]
        values[GAP] = math.nan
        return Series(1_000.0, 15.0, tuple(values))

    named = {field.name: series(number) for number, field in enumerate(fields(History))}
    return History(**{**named, "ended_estimates": None})  # type: ignore[arg-type]


def test_what_is_unpacked_is_what_was_packed() -> None:
    before = history()
    after = before.packed().unpacked()
    assert after.ended_estimates is None
    for field in fields(History):
        one, other = getattr(before, field.name), getattr(after, field.name)
        if one is not None:
            assert (other.start, other.step, len(other.values)) == (1_000.0, 15.0, SAMPLES)
            assert math.isnan(other.values[GAP])
            assert other.values[:GAP] == one.values[:GAP]
            assert other.values[GAP + 1 :] == one.values[GAP + 1 :]


def test_a_packed_history_takes_a_third_of_the_memory_at_most() -> None:
    tracemalloc.start()
    try:
        whole = [history() for _ in range(20)]
        large = tracemalloc.get_traced_memory()[0]
        packed = [each.packed() for each in whole]
        small = tracemalloc.get_traced_memory()[0] - large
    finally:
        tracemalloc.stop()
    assert len(packed) == len(whole)
    assert small < large / 3
