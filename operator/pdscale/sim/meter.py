"""What a metrics server would know: rates and lengths of the past, in steps, as ``scaling.History``.

Live figures come from counters that are scraped and turned into rates over a window; these are exact rates of
each whole step. The step under way is not told, as no scrape has ended it.
"""

import math
from array import array
from collections.abc import Callable
from typing import Final

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.scaling.history import History
from pdscale.sim.paces import Paces
from pdscale_forecaster.series import Series

_SUMS: Final = 10


class Meter:
    """``computed`` says how many prompt tokens decode and prefill replicas have computed so far, ``streams``
    how many rounds are on decode and on prefill replicas now, ``paces`` how fast engines were since it was
    asked last."""

    def __init__(
        self,
        step: Seconds,
        *,
        computed: Callable[[], tuple[int, int]],
        streams: Callable[[], tuple[int, int]],
        paces: Callable[[], Paces],
    ) -> None:
        self.step = step
        self._computed, self._streams, self._read_paces = computed, streams, paces
        self._end = step
        self._sums = [0.0] * _SUMS
        self._columns = [array("d") for _ in range(_SUMS)]
        self._local_share, self._decode_streams, self._prefill_requests = array("d"), array("d"), array("d")
        self._paces = {name: array("d") for name in Paces._fields}
        self._before = (0, 0)

    # Rate, completed, then sums of lengths and of their squares as in History; last the estimates.
    def arrived(self, uncached: int, now: Seconds) -> None:
        if now >= self._end:
            self.roll(now)
        sums = self._sums
        sums[0] += 1
        sums[7] += uncached
        sums[8] += uncached * uncached

    def ended(self, *, prompt: int, uncached: int, estimate: int, output: int, now: Seconds) -> None:
        if now >= self._end:
            self.roll(now)
        sums = self._sums
        sums[1] += 1
        sums[2] += prompt
        sums[3] += uncached
        sums[4] += uncached * uncached
        sums[5] += output
        sums[6] += output * output
        sums[9] += estimate

    def roll(self, now: Seconds) -> None:
        """Close the steps that have ended. In one that nothing happened in, gauges read as at its end."""
        while now >= self._end:
            for column, total in zip(self._columns, self._sums, strict=True):
                column.append(total / self.step)
            self._sums = [0.0] * _SUMS
            here, there = self._computed()
            local, remote = here - self._before[0], there - self._before[1]
            self._before = (here, there)
            self._local_share.append(local / (local + remote) if local + remote else math.nan)
            decode, prefill = self._streams()
            self._decode_streams.append(float(decode))
            self._prefill_requests.append(float(prefill))
            for column, pace in zip(self._paces.values(), self._read_paces(), strict=True):
                column.append(pace)
            self._end += self.step

    def past(self, window: Seconds, now: Seconds) -> History | NoData:
        self.roll(now)
        steps = min(len(self._decode_streams), max(1, round(window / self.step)))
        if not steps:
            return NoData(f"no step of {self.step:g}s has passed yet")
        start = self._end - self.step * steps

        def series(values: "array[float]") -> Series:
            return Series(start, self.step, tuple(values[-steps:]))

        ended, estimated = self._columns[:7], self._columns[7:]
        gauges = (self._local_share, self._decode_streams, self._prefill_requests)
        paces = {name: series(column) for name, column in self._paces.items()}
        return History(*map(series, (*ended, *gauges, *estimated)), **paces)
