"""Linear regression on the recent past, shrunk towards "as in the recent mean".

Everything is a log difference from a trailing mean, so that a doubling weighs the same at any load,
and the penalty pulls towards that mean and not towards zero. Forecasts are held within the changes
seen while fitting: a line extrapolates without shame after a gap or a step, a fleet should not.

The regression is direct: it learns the value ``steps`` ahead, not a step that is then repeated. Its few
columns are solved for by the normal equations (Hoerl and Kennard, "Ridge regression", Technometrics 1970,
eq. 2.1), centred, so that the intercept is not shrunk. With
a ``season`` (in samples) of which the fit has seen at least two, it also knows the phase and what
was one season before the instant it forecasts.
"""

from typing import Self

import numpy as np

from pdscale_forecaster.gaps import SHORT_GAP, Values, bridge_short, carry_forward, run_starts
from pdscale_forecaster.models.base import Model
from pdscale_forecaster.models.columns import calendar, lagged, trailing_mean

_HARMONICS = (1, 2, 3)

# Keeps the logarithms finite when all that the fit has seen is next to nothing.
_LEAST_SCALE = 1e-9


class RidgeLags(Model):
    def __init__(
        self, steps: int = 1, *, lags: int = 3, penalty: float = 10.0, season: int | None = None
    ) -> None:
        self.steps = steps
        self.lags = lags
        self.penalty = penalty
        self.season = season

    @property
    def reach(self) -> int:
        return max(16, 4 * self.steps) + SHORT_GAP + (0 if self.season is None else self.season)

    def fit(self, values: Values, y: None = None) -> Self:
        known = values[~np.isnan(values)]
        self.scale_ = max(_LEAST_SCALE, float(known.mean()) if len(known) else 0.0)
        self.seasonal_ = self.season is not None and len(values) >= 2 * self.season + self.steps
        features, base = self._features(values)
        change = np.log1p(values[self.steps :] / self.scale_) - base[: -self.steps]
        usable = ~np.isnan(change) & ~np.isnan(values[: -self.steps])
        self.weights_: Values | None = None
        if usable.sum() > features.shape[1]:
            rows, targets = features[: -self.steps][usable], change[usable]
            self.bounds_ = (float(targets.min()), float(targets.max()))
            # A penalty in samples: it must mean the same for a calm series and for a wild one.
            spread = float(np.mean(rows**2))
            self.weights_, self.intercept_ = penalised(
                rows, targets, max(_LEAST_SCALE, self.penalty * spread)
            )
        return self

    def predict(self, values: Values) -> Values:
        known = ~np.isnan(values)
        if self.weights_ is None or not known.any():
            return carry_forward(values)
        features, base = self._features(values)
        change = np.clip(features[known] @ self.weights_ + self.intercept_, *self.bounds_)
        ahead = np.full(len(values), np.nan)
        ahead[known] = np.maximum(0.0, np.expm1(base[known] + change)) * self.scale_
        # A bridge over an open gap would lean on its far end, which at that instant is the future.
        return carry_forward(ahead)

    def _features(self, values: Values) -> tuple[Values, Values]:
        """Columns that are 0 when nothing is unusual, and the base that they are relative to."""
        bridged = bridge_short(values)
        starts = run_starts(bridged)
        logs = np.log1p(bridged / self.scale_)

        def trailing(window: int) -> Values:
            return np.log1p(trailing_mean(bridged, starts, window) / self.scale_)

        base = trailing(max(4, self.steps))
        columns = [lagged(logs, lag) for lag in range(self.lags)]
        columns += [trailing(window) for window in (4, 16, 4 * self.steps)]
        if self.seasonal_ and self.season is not None:
            columns.append(lagged(logs, self.season - self.steps))
        relative = [np.nan_to_num(column - base) for column in columns]
        if self.seasonal_ and self.season is not None:
            relative += calendar(len(values), self.season, ahead=self.steps, harmonics=_HARMONICS)
        return np.column_stack(relative), base


def penalised(rows: Values, targets: Values, penalty: float) -> tuple[Values, float]:
    """Weights and intercept of the least squared errors plus ``penalty`` times the squared weights."""
    centre, level = rows.mean(axis=0), float(targets.mean())
    design = rows - centre
    left = design.T @ design + penalty * np.eye(rows.shape[1])
    weights = np.asarray(np.linalg.solve(left, design.T @ (targets - level)), dtype=np.float64)
    return weights, level - float(centre @ weights)
