"""What all models promise, in scikit-learn's habits.

A model is fitted to an array of samples (NaN: unknown) and then forecasts from *every* sample of an
array at once: ``predict(values)[t]`` is what it says at ``t`` about ``t + steps``, and it depends on
``values[: t + 1]`` and the fit alone. So one call gives both the forecast (the last element) and the
past forecasts whose errors become its quantiles. scikit-learn has no type information; this is the
place that admits it.
"""

from abc import ABC, abstractmethod
from typing import Self

from sklearn.base import BaseEstimator

from pdscale_forecaster.gaps import Values


class Model(ABC, BaseEstimator):  # type: ignore[misc]
    """Forecasts ``steps`` samples ahead; parameters are constructor arguments, so it can be cloned."""

    steps: int

    @abstractmethod
    def fit(self, values: Values, y: None = None) -> Self:
        """Learn from ``values``, of which only known samples are targets."""

    @abstractmethod
    def predict(self, values: Values) -> Values:
        """Forecasts from each sample; NaN only before the first known one."""
