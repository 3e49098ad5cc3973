"""A level that drifts, seen through noise: the Kalman filter of the local level model.

    level[t] = level[t-1] + drift,  variance ratio * noise        value[t] = level[t] + noise

With variances in units of the noise the whole filter is p += ratio; gain = p / (p + 1); p = gain. An
unknown sample only lets p grow, so after a gap the next sample counts for more: that is all the
handling of gaps it needs. Once settled it is exponential smoothing; at ratio 0.05 the gain is
(-0.05 + sqrt(0.05^2 + 4 * 0.05)) / 2 = 0.2, a memory of five samples.

Errors ``steps`` ahead have sqrt(1 + (steps - 1) * gain^2) times the spread of those one ahead (Hyndman et
al., "Forecasting with exponential smoothing", 2008, table 6.2): 40 ahead at gain 0.2, 1.6 times. So both
gain and width are known from errors one ahead, of which an hour has hundreds where it has one or two that
are ten minutes long. By errors ``steps`` ahead, a load that changes once looks like one that always does.
"""

import math
from typing import Self

import numpy as np

from pdscale_forecaster.gaps import Values
from pdscale_forecaster.models.base import Model

# Settled gains 0.03, 0.10, 0.20, 0.36, 0.62, 0.85: memories from thirty samples to one.
RATIOS = (0.001, 0.01, 0.05, 0.2, 1.0, 5.0)


# At gain 0.03 a sample this old weighs 0.97^400 = 5e-6.
_REACH = 400

# Which gain is right is seen on a few thousand samples as well as on all.
_FITTED = 3000


class Level(Model):
    """Local level whose variance ratio had the least absolute error one sample ahead."""

    def __init__(self, steps: int = 1, ratios: tuple[float, ...] = RATIOS) -> None:
        self.steps = steps
        self.ratios = ratios

    @property
    def reach(self) -> int:
        return _REACH

    @property
    def growth(self) -> float:
        gain: float = (math.sqrt(self.ratio_ * (self.ratio_ + 4)) - self.ratio_) / 2
        return math.sqrt(1 + (self.steps - 1) * gain**2)

    def fit(self, values: Values, y: None = None) -> Self:
        losses = [self._loss(values[-_FITTED:], ratio) for ratio in self.ratios]
        self.ratio_ = self.ratios[int(np.argmin(losses))]
        return self

    def predict(self, values: Values) -> Values:
        return filtered(values, self.ratio_)

    def _loss(self, values: Values, ratio: float) -> float:
        errors = np.abs(values[1:] - filtered(values, ratio)[:-1])
        known = errors[~np.isnan(errors)]
        return float(known.mean()) if len(known) else 0.0


def filtered(values: Values, ratio: float) -> Values:
    """The level after each sample; NaN before the first known one."""
    levels = []
    level, p = math.nan, math.inf
    for value in values.tolist():
        p += ratio
        if not math.isnan(value):
            gain = 1.0 if math.isinf(p) else p / (p + 1.0)
            level = value if math.isnan(level) else level + gain * (value - level)
            p = gain
        levels.append(level)
    return np.array(levels, dtype=np.float64)
