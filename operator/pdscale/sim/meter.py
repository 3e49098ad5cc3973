"""What a metrics server would know: rates and lengths of the past, in steps, as ``scaling.History``.

Live figures come from counters that are scraped and turned into rates over a window; these are exact rates of
each whole step. The step under way is not told, as no scrape has ended it.
"""

import math
from array import array
from collections.abc import Callable

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.scaling.history import History
from pdscale_forecaster.series import Series


class Meter:
    """``computed`` says how many prompt tokens decode and prefill replicas have computed so far, ``streams``
    how many rounds are bound to decode replicas now."""

    def __init__(
        self, step: Seconds, *, computed: Callable[[], tuple[int, int]], streams: Callable[[], int]
    ) -> None:
        self.step = step
        self._computed, self._streams = computed, streams
        self._end = step
        self._sums = [0.0] * 7
        self._columns = [array("d") for _ in range(7)]
        self._local_share, self._decode_streams = array("d"), array("d")
        self._before = (0, 0)

    # In the order of History's fields: rate, completed, then sums of lengths and of their squares.
    def arrived(self, now: Seconds) -> None:
        if now >= self._end:
            self.roll(now)
        self._sums[0] += 1

    def ended(self, *, prompt: int, uncached: int, output: int, now: Seconds) -> None:
        if now >= self._end:
            self.roll(now)
        sums = self._sums
        sums[1] += 1
        sums[2] += prompt
        sums[3] += uncached
        sums[4] += uncached * uncached
        sums[5] += output
        sums[6] += output * output

    def roll(self, now: Seconds) -> None:
        """Close the steps that have ended. In one that nothing happened in, gauges read as at its end."""
        while now >= self._end:
            for column, total in zip(self._columns, self._sums, strict=True):
                column.append(total / self.step)
            self._sums = [0.0] * 7
            here, there = self._computed()
            local, remote = here - self._before[0], there - self._before[1]
            self._before = (here, there)
            self._local_share.append(local / (local + remote) if local + remote else math.nan)
            self._decode_streams.append(float(self._streams()))
            self._end += self.step

    def past(self, window: Seconds, now: Seconds) -> History | NoData:
        self.roll(now)
        steps = min(len(self._decode_streams), max(1, round(window / self.step)))
        if not steps:
            return NoData(f"no step of {self.step:g}s has passed yet")
        start = self._end - self.step * steps

        def series(values: "array[float]") -> Series:
            return Series(start, self.step, tuple(values[-steps:]))

        columns = (*self._columns, self._local_share, self._decode_streams)
        return History(*map(series, columns))
