"""Evenly spaced samples with gaps, and what a forecast of them says."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Series:
    """``values[i]`` was measured at ``start + i * step`` (seconds); NaN means that nothing is known."""

    start: float
    step: float
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"series.step must be above 0s, got {self.step}s")
        if math.inf in self.values or -math.inf in self.values:
            raise ValueError("series.values must be finite or NaN, got an infinite one")

    @property
    def end(self) -> float:
        """Instant of the last sample; ``start`` when there is none."""
        return self.start + self.step * max(0, len(self.values) - 1)

    @property
    def known(self) -> int:
        return len(self.values) - sum(map(math.isnan, self.values))

    def steps(self, seconds: float) -> int:
        """Samples until ``seconds`` from now, rounded up: a forecast never reaches less far than asked."""
        return math.ceil(seconds / self.step - 1e-9)

    def last(self, seconds: float) -> "Series":
        """The samples of the last ``seconds``, at least one if there is any."""
        wanted = seconds / self.step + 1e-9
        keep = len(self.values) if wanted >= len(self.values) else max(1, math.floor(wanted))
        skipped = len(self.values) - keep
        return Series(self.start + skipped * self.step, self.step, self.values[skipped:])


@dataclass(frozen=True, slots=True)
class Forecast:
    """The value that the series stays below with probability ``quantile``, ``horizon`` seconds ahead.

    ``point`` is the middle forecast, ``coverage`` the share of past forecasts of this model that
    held, absent when there are too few to tell. ``reason`` says which models switched themselves off.
    """

    value: float
    point: float
    quantile: float
    horizon: float
    model: str
    coverage: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TooShort:
    """There is not enough history for a forecast; ``reason`` says how much there is and is needed."""

    reason: str
