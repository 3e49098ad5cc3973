"""The load returns to the highest of the recent past: cheap insurance against bursts that repeat."""

from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pdscale_forecaster.gaps import Values, carry_forward
from pdscale_forecaster.models.base import Model


class MovingMaximum(Model):
    """Highest known value among the last ``window`` samples; the last one seen if all are unknown."""

    def __init__(self, steps: int = 1, window: int = 3) -> None:
        self.steps = steps
        self.window = window

    @property
    def reach(self) -> int:
        return self.window

    def fit(self, values: Values, y: None = None) -> Self:
        return self

    def predict(self, values: Values) -> Values:
        padded = np.concatenate([np.full(self.window - 1, np.nan), values])
        highest = np.fmax.reduce(sliding_window_view(padded, self.window), axis=1)
        return np.where(np.isnan(highest), carry_forward(values), highest)
