"""A line through the middle: linear median regression on the recent past and the calendar.

Least absolute errors, since a burst must not bend what is said of quiet minutes. The loss is minimised by
iteratively reweighted least squares, a majorisation of the pinball loss (Hunter and Lange, "Quantile
regression via an MM algorithm", JCGS 2000, here for the median), with a penalty that pulls towards "as the
last value". Twenty rounds on some thousand rows take tens of milliseconds, a linear programme takes seconds.

Of a load so smooth that differences of its changes tell, the penalty takes what they tell: columns are nearly
collinear, and that is where it pulls. A tenth of it is taken where that foretells the last quarter of the
rows clearly better from the rows before.
"""

from dataclasses import replace
from typing import Self

import numpy as np

from pdscale_forecaster.gaps import SHORT_GAP, Values, carry_forward
from pdscale_forecaster.models.base import Model
from pdscale_forecaster.models.columns import columns, look_back
from pdscale_forecaster.models.regression import Frame, Rows, ahead_of, rows_of

_ROUNDS = 20

# Errors below that share of the mean one weigh alike: without it a perfect fit would weigh infinitely.
_SMOOTHED = 0.02

# Mean change of the logarithm below which a load stands still: weights of such errors would not be finite.
_STANDING = 1e-9

# A lighter penalty, the share by which its errors have to be less, as of noise both tell the same, and the
# last rows that tell: a fit of all would be tried twice for nothing on weeks of minutes.
_LIGHTER = 0.1
_CLEARLY = 0.02
_TRIED = 2000


class QuantileLines(Model):
    def __init__(
        self, steps: int = 1, *, penalty: float = 10.0, season: int | None = None, rows: int = 6000
    ) -> None:
        self.steps = steps
        self.penalty = penalty
        self.season = season
        self.rows = rows

    @property
    def least(self) -> int:
        return 200

    @property
    def reach(self) -> int:
        return look_back(self.steps, self.season) + SHORT_GAP

    def fit(self, values: Values, y: None = None) -> Self:
        seen = rows_of(values, steps=self.steps, season=self.season, most=self.rows)
        self.frame_: Frame | None = None
        if seen is not None and len(seen.targets) >= self.least // 2:
            self.frame_, self.weights_ = seen.frame, self._weights(seen, self._penalty(seen))
        return self

    def predict(self, values: Values) -> Values:
        if self.frame_ is None:
            return carry_forward(values)
        found, logs = columns(values, self.frame_.scale, steps=self.steps, season=self.frame_.season)
        return ahead_of(values, logs, self._standard(found) @ self.weights_, self.frame_)

    def _penalty(self, seen: Rows) -> float:
        rows, targets = seen.columns[-_TRIED:], seen.targets[-_TRIED:]
        cut = len(targets) * 3 // 4
        early = replace(seen, columns=rows[:cut], targets=targets[:cut])

        def missed(penalty: float) -> float:
            weights = self._weights(early, penalty)
            return float(np.abs(targets[cut:] - self._standard(rows[cut:]) @ weights).mean())

        light = _LIGHTER * self.penalty
        return light if missed(light) < (1 - _CLEARLY) * missed(self.penalty) else self.penalty

    def _weights(self, seen: Rows, penalty: float) -> Values:
        self.mean_, self.spread_ = seen.columns.mean(axis=0), seen.columns.std(axis=0)
        size = float(np.abs(seen.targets - seen.targets.mean()).mean())
        design = self._standard(seen.columns)
        pull = np.full(design.shape[1], penalty)
        pull[0] = 0.0
        weights = _solved(design.T @ design + np.diag(pull + 1e-9), design.T @ seen.targets)
        if size < _STANDING:
            return weights
        for _ in range(_ROUNDS):
            near = 1.0 / (np.abs(seen.targets - design @ weights) + _SMOOTHED * size)
            left = (design.T * near) @ design + np.diag(pull / size + 1e-9)
            weights = _solved(left, design.T @ (near * seen.targets))
        return weights

    def _standard(self, found: Values) -> Values:
        scaled = (found - self.mean_) / np.where(self.spread_ > 0, self.spread_, 1.0)
        return np.column_stack([np.ones(len(found)), scaled])


def _solved(left: Values, right: Values) -> Values:
    return np.asarray(np.linalg.solve(left, right), dtype=np.float64)
