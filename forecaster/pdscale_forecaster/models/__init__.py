"""Forecasting models, simplest first. Each says what the load will be ``steps`` samples ahead."""

from pdscale_forecaster.models.base import Model
from pdscale_forecaster.models.boosting import Boosting
from pdscale_forecaster.models.ensemble import Ensemble
from pdscale_forecaster.models.last_value import LastValue
from pdscale_forecaster.models.level import Level
from pdscale_forecaster.models.moving_maximum import MovingMaximum
from pdscale_forecaster.models.quantile_lines import QuantileLines
from pdscale_forecaster.models.ridge_lags import RidgeLags
from pdscale_forecaster.models.seasonal_naive import SeasonalNaive

__all__ = [
    "Boosting",
    "Ensemble",
    "LastValue",
    "Level",
    "Model",
    "MovingMaximum",
    "QuantileLines",
    "RidgeLags",
    "SeasonalNaive",
]
