"""How fast engines were in a step, as a metrics server tells by their histograms: means over all replicas.

The sums behind vLLM's ``inter_token_latency_seconds`` and ``request_prefill_time_seconds``, looked at once a
step. Replicas that have gone since take what they did in it with them, as their series end, too.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from pdscale.model.units import Seconds
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.prefill import PrefillEngine


class Paces(NamedTuple):
    """Fields of ``scaling.History`` by their names; NaN where nothing was done."""

    inter_token_latency: Seconds
    decode_batch: float
    prefill_leg_seconds: Seconds
    prefill_leg_tokens: float
    prefill_legs_per_pass: float


class PaceReader:
    """Asked at the end of each step of so many seconds."""

    def __init__(self, step: Seconds) -> None:
        self._step = step
        self._decoded: dict[str, tuple[Seconds, int]] = {}
        self._prefilled: dict[str, tuple[float, ...]] = {}

    def read(self, decode: Iterable[DecodeEngine], prefill: Iterable[PrefillEngine]) -> Paces:
        return Paces(*self._decode(decode), *self._prefill(prefill))

    def _decode(self, engines: Iterable[DecodeEngine]) -> tuple[Seconds, float]:
        """Mean gap, and the streams beside which a stream was on its engine, itself included.

        An engine with B streams sees B seconds of gaps a second, whatever its pace.
        """
        before, self._decoded = self._decoded, {}
        streams = gaps = squared = 0.0
        for engine in engines:
            tally = engine.tally
            self._decoded[engine.name] = now = (tally.gap_seconds, tally.gaps)
            seconds, count = before.get(engine.name, (0.0, 0))
            each = (now[0] - seconds) / self._step
            streams, squared, gaps = streams + each, squared + each * each, gaps + (now[1] - count)
        if not gaps:
            return math.nan, math.nan
        return streams * self._step / gaps, squared / streams

    def _prefill(self, engines: Iterable[PrefillEngine]) -> tuple[Seconds, float, float]:
        """Mean time and computed tokens of a leg, and how many ended in a pass."""
        before, self._prefilled = self._prefilled, {}
        sums: tuple[float, ...] = (0.0,) * 4
        for engine in engines:
            now = (engine.leg_seconds, engine.completed, engine.computed, engine.last_passes)
            self._prefilled[engine.name] = now
            was = before.get(engine.name, (0.0,) * 4)
            sums = tuple(s + (n - w) for s, n, w in zip(sums, now, was, strict=True))
        seconds, legs, tokens, passes = sums
        return (seconds / legs, tokens / legs, legs / passes) if legs else (math.nan,) * 3
