"""Gradient-boosted trees on the recent past and the calendar, under the pinball loss of the median.

Small trees and few of them: a load of some days has hundreds of windows that tell of it, and what
trees learn beyond that is noise. They see thresholds where lines see slopes: a burst that ends, an hour
that differs.

scikit-learn is loaded with the first fit: a history that is too short for trees need not pay for it.
"""

from typing import Any, Self

from pdscale_forecaster.gaps import SHORT_GAP, Values, carry_forward
from pdscale_forecaster.models.base import Model
from pdscale_forecaster.models.columns import columns, look_back
from pdscale_forecaster.models.regression import Frame, ahead_of, rows_of
from pdscale_forecaster.threads import one_thread


class Boosting(Model):
    def __init__(
        self, steps: int = 1, *, season: int | None = None, trees: int = 60, rows: int = 4000, seed: int = 0
    ) -> None:
        self.steps = steps
        self.season = season
        self.trees = trees
        self.rows = rows
        self.seed = seed

    @property
    def least(self) -> int:
        return 400

    @property
    def reach(self) -> int:
        return look_back(self.steps, self.season) + SHORT_GAP

    def fit(self, values: Values, y: None = None) -> Self:
        seen = rows_of(values, steps=self.steps, season=self.season, most=self.rows)
        self.frame_: Frame | None = None
        if seen is not None and len(seen.targets) >= self.least // 4:
            self.frame_, trees = seen.frame, _unfitted(self.trees, self.seed)
            with one_thread():  # again: scikit-learn's own threads were not there to be limited before
                self.trees_ = trees.fit(seen.columns, seen.targets)
        return self

    def predict(self, values: Values) -> Values:
        if self.frame_ is None:
            return carry_forward(values)
        found, logs = columns(values, self.frame_.scale, steps=self.steps, season=self.frame_.season)
        with one_thread():
            return ahead_of(values, logs, self.trees_.predict(found), self.frame_)


def _unfitted(trees: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(
        loss="quantile",
        quantile=0.5,
        max_iter=trees,
        learning_rate=0.06,
        max_leaf_nodes=6,
        min_samples_leaf=20,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=seed,
    )
