"""What all models promise, in scikit-learn's habits but without it.

A model is fitted to an array of samples (NaN: unknown) and then forecasts from *every* sample of an
array at once: ``predict(values)[t]`` is what it says at ``t`` about ``t + steps``, and it depends on
``values[: t + 1]`` and the fit alone. So one call gives both the forecast (the last element) and the
past forecasts whose errors become its quantiles. A model says where the middle is and nothing about
quantiles: these come from its record.

scikit-learn itself, and SciPy with it, are 90 MiB that most processes need not load: only trees come from it.
"""

from abc import ABC, abstractmethod
from copy import copy
from typing import Any, Self

from pdscale_forecaster.early import Scale
from pdscale_forecaster.gaps import Values


class Model(ABC):
    """Forecasts ``steps`` samples ahead. Attributes are its parameters; what a fit found ends in ``_``."""

    steps: int

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.endswith("_")}

    def anew(self) -> Self:
        """Another one with these parameters, which has not been fitted."""
        other = copy(self)
        other.__dict__ = self.parameters
        return other

    @abstractmethod
    def fit(self, values: Values, y: None = None) -> Self:
        """Learn from ``values``, of which only known samples are targets."""

    @abstractmethod
    def predict(self, values: Values) -> Values:
        """Forecasts from each sample; NaN only before the first known one."""

    @property
    def least(self) -> int:
        """Known samples below which it has nothing of its own to say, and is not worth its cost."""
        return 1

    @property
    def scale(self) -> Scale:
        """What its errors are relative to while they are few."""
        return Scale.BASE

    @property
    def growth(self) -> float | None:
        """How many times as wide its errors are as those one sample ahead, once it is fitted.

        At least 1; None where those do not tell. Who knows it says the same of all times ahead.
        """
        return None

    @property
    def reach(self) -> int:
        """Samples, the origin included, on which a forecast from a known sample depends."""
        return 1
