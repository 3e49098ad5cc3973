"""The load will be what it was one season before: the yardstick of all that claims to know the calendar.

A season whose sample is unknown is looked for one season earlier, and the last value stands in where
there is none.
"""

from typing import Self

import numpy as np

from pdscale_forecaster.gaps import SHORT_GAP, Values, bridge_short, carry_forward
from pdscale_forecaster.models.base import Model
from pdscale_forecaster.models.columns import lagged

_SEASONS = 2


class SeasonalNaive(Model):
    """The value ``season`` samples before the instant that is forecast."""

    def __init__(self, steps: int = 1, season: int | None = None) -> None:
        self.steps = steps
        self.season = season

    @property
    def least(self) -> int:
        return _SEASONS * (self.season or 1) + self.steps

    @property
    def reach(self) -> int:
        return _SEASONS * (self.season or 1) + SHORT_GAP

    def fit(self, values: Values, y: None = None) -> Self:
        return self

    def predict(self, values: Values) -> Values:
        said = np.full(len(values), np.nan)
        if self.season is not None:
            # A horizon beyond one season is served by the last season that is known at all.
            whole = self.season * -(-self.steps // self.season)
            bridged = bridge_short(values)
            for seasons in range(_SEASONS):
                earlier = lagged(bridged, whole + seasons * self.season - self.steps)
                said = np.where(np.isnan(said), earlier, said)
        return np.where(np.isnan(said) | np.isnan(carry_forward(values)), carry_forward(values), said)
