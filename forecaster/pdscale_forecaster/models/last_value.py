"""The load stays what it was last seen to be: the yardstick, and hard to beat on average.

While little is known it is the rule of thumb to the letter: times the quantile of past ratios.
"""

from typing import Self

from pdscale_forecaster.early import Scale
from pdscale_forecaster.gaps import Values, carry_forward
from pdscale_forecaster.models.base import Model


class LastValue(Model):
    def __init__(self, steps: int = 1) -> None:
        self.steps = steps

    @property
    def scale(self) -> Scale:
        return Scale.LOAD

    def fit(self, values: Values, y: None = None) -> Self:
        return self

    def predict(self, values: Values) -> Values:
        return carry_forward(values)
