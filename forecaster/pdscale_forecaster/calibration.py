"""Quantiles from a model's own past errors, so that they hold as often as they say.

A model's spread is not modelled but measured. Its errors are taken relative to ``base = forecast + mean load
so far``, the middle way between "errors grow with the load" and "errors are as large when idle": a plain
ratio explodes when a forecast is next to zero. Then

    value(q) = forecast + w * base * size * z(q)

size  the model's recent relative error, an exponential average pulled towards that of all its errors;
      normalised conformal prediction (Lei et al., "Distribution-free predictive inference for
      regression", JASA 2018, eq. 11) with the simplest estimate of how hard the present is
z(q)  the conformal quantile of past errors in units of ``base * size``: rank ceil((n + 1) * q) of n, which
      covers at least q if errors are exchangeable
w     they are not: regimes change, and errors of neighbouring instants overlap. So the part above the median
      is widened by every miss of the 0.9-quantile and narrowed by every hit, nine times less: in the long
      run one in ten is missed whatever comes. Adaptive conformal inference (Gibbs and Candes, NeurIPS
      2021, eq. 2) moves the level instead; the width is ours, since one figure serves all quantiles,
      which then never cross, and cannot become infinite.

All this from as many errors on as tell something of their own; before, see ``early``.

A ``Record`` is fed instant by instant, and knows an error only when it has come to light. Full, it is
9 KiB: one process has thousands, so errors are kept once, in the order in which they came and to seven
digits, and what held as two bits. To sort them for each forecast takes microseconds.
"""

import math
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pdscale_forecaster.early import WORST, Early, Scale, rank, usual
from pdscale_forecaster.verdict import JUDGED, LEVELS, Verdict

# Errors after which one counts half, to which the steps ahead are added, since neighbouring errors tell the
# same over them; and the share of the recent in the exponent of the mix with all errors.
_HALF_LIFE = 18
_TRUST = 0.7

# Errors from which a size is known at all; an early one that happens to be small would make all others huge.
_SETTLED = 10

# One step ahead, a miss widens by exp(0.05 * 0.9), 4.6 %; a hit narrows by 0.5 %. Further ahead, misses come
# in runs as long as the steps, all of them before the first is known, and each counts less.
_GAIN = 0.05
_WIDTHS = (0.25, 8.0)

# Errors that quantiles are taken from; fourteen days of ten-minute windows, a day and a half of minutes.
_WINDOW = 2000

# A load that is forecast to two in a thousand needs no finer width; it keeps rounding from being one.
_LEAST_SIZE = 2e-3


@dataclass(frozen=True, slots=True)
class Said:
    """A forecast, its ``base`` and what errors are relative to while they are few.

    ``size`` of errors and quantiles at ``Record.levels`` once known. What was said ``before`` models are
    compared teaches early errors only.
    """

    forecast: float
    base: float
    early: float
    size: float | None = None
    quantiles: tuple[float, ...] | None = None
    before: bool = False


class Record:
    """What one model said ``steps`` samples ahead, and what came.

    ``mean`` and ``seen`` are the mean load before and from how many samples; ``least`` is how many errors a
    quantile needs, ``quantile`` the one whose coverage is wanted.
    """

    def __init__(
        self,
        steps: int,
        quantile: float,
        *,
        least: int,
        mean: float,
        seen: int,
        scale: Scale = Scale.BASE,
    ) -> None:
        self.levels = (*LEVELS, quantile)
        self.errors = 0
        self.verdict = Verdict()
        self.steps = steps
        self._fresh = 1 - 0.5 ** (1 / (_HALF_LIFE + steps - 1))
        self._gain = _GAIN / math.sqrt(steps)
        self._least = least
        self._early = Early(scale)
        self._mean, self._seen = mean, seen
        self._waiting: deque[Said | None] = deque([None] * steps)
        self._window = array("f")
        self._recent, self._size = 0.0, 0.0
        self._width = 1.0

    def recall(self, values: Iterable[float], forecasts: Iterable[float]) -> None:
        """Instants before the first, of a model that has nothing to learn: their errors are as good as later.

        ``mean`` and ``seen`` of the making count them already, and models are compared on later ones.
        """
        for value, forecast in zip(values, forecasts, strict=True):
            said = self._waiting.popleft()
            if said is not None and not math.isnan(value):
                self._early.learn(said.forecast, said.early, value)
            known = not math.isnan(value) and not math.isnan(forecast)
            self._waiting.append(replace(self._say(forecast), before=True) if known else None)

    def relearn(self, values: Sequence[float], forecasts: Sequence[float], growth: float) -> None:
        """The model was fitted again: what it would have said of the past, and how its errors grow."""
        self._early.relearn_near(values, forecasts, growth)

    def step(self, value: float, forecast: float) -> None:
        """The next instant: what is measured there, and what the model says from there; NaN is unknown."""
        known = not math.isnan(value)
        if known:
            self._seen += 1
            self._mean += (value - self._mean) / self._seen
            if self.last is not None and not self.adapts:
                self._early.learn_near(self.last.forecast, self.last.early, value)
        said = self._waiting.popleft()
        if known and said is not None:
            self._learn(said, value)
        self._waiting.append(self._say(forecast) if known and not math.isnan(forecast) else None)

    @property
    def last(self) -> Said | None:
        return self._waiting[-1]

    def at(self, quantile: float, said: Said) -> float:
        """The quantile of what was just ``said``, by all errors known now; never below zero."""
        return self._quantiles((quantile,), said)[0]

    @property
    def adapts(self) -> bool:
        """There are as many errors as the half-life of their size has; twice as many if they share time."""
        return self.errors >= _HALF_LIFE * (2 * self.steps - 1)

    @property
    def _size_now(self) -> float:
        size: float = self._recent**_TRUST * self._size ** (1 - _TRUST)
        return max(_LEAST_SIZE, size)

    def _say(self, forecast: float) -> Said:
        base = usual(forecast, self._mean)
        said = Said(
            forecast,
            base,
            early=self._early.base(forecast, base),
            size=self._size_now if self.errors >= _SETTLED else None,
        )
        if self.errors < self._least:
            return said
        return replace(said, quantiles=self._quantiles(self.levels, said))

    def _quantiles(self, levels: Sequence[float], said: Said) -> tuple[float, ...]:
        if not self.adapts:
            return tuple(max(0.0, self._early.at(level, said.forecast, said.early)) for level in levels)
        ordered = np.sort(np.array(self._window))
        middle = float(ordered[rank(len(ordered), 0.5)])
        size = self._size_now if said.size is None else said.size

        def at(level: float) -> float:
            z = float(ordered[rank(len(ordered), level)])
            wide = self._width if z > middle else 1.0
            return max(0.0, said.forecast + (middle + wide * (z - middle)) * said.base * size)

        return tuple(map(at, levels))

    def _learn(self, said: Said, value: float) -> None:
        if said.quantiles is not None:
            self._widen(held=self.verdict.learn(said.quantiles, value))
        if not self.adapts:
            self._early.learn(said.forecast, said.early, value)
        if said.before:
            return
        relative = min(WORST, abs(value - said.forecast) / said.base)
        self.errors += 1
        if self.adapts:
            self._early.forget()
        self._size += (relative - self._size) / self.errors
        self._recent += (relative - self._recent) * max(self._fresh, 1 / self.errors)
        # What was said before anything was known of errors is measured by what is known now.
        size = self._size_now if said.size is None else said.size
        error = math.copysign(relative, value - said.forecast) / size
        self._window.append(error)
        if len(self._window) > _WINDOW:
            self._window.pop(0)

    def _widen(self, *, held: bool) -> None:
        if not self.adapts:
            return
        width = self._width * math.exp(self._gain * ((not held) - (1 - JUDGED)))
        self._width = min(_WIDTHS[1], max(_WIDTHS[0], width))
