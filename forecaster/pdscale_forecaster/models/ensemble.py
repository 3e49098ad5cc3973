"""The mean of other models' forecasts: what one of them overdoes, the others dampen.

It is no estimator: its members are fitted and asked once, for themselves and for it. Plain weights, because
learnt ones differ from them by noise on histories of days.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pdscale_forecaster.early import Scale
from pdscale_forecaster.gaps import Values


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Names of the models whose mean it is."""

    members: tuple[str, ...]

    @property
    def scale(self) -> Scale:
        return Scale.BASE

    def combine(self, said: Mapping[str, Values]) -> Values:
        return np.asarray(np.mean([said[name] for name in self.members], axis=0))
