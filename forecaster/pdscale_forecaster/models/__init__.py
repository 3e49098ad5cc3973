"""Forecasting models, simplest first. Each says what the load will be ``steps`` samples ahead."""

from pdscale_forecaster.models.base import Model
from pdscale_forecaster.models.last_value import LastValue
from pdscale_forecaster.models.level import Level
from pdscale_forecaster.models.moving_maximum import MovingMaximum
from pdscale_forecaster.models.ridge_lags import RidgeLags

__all__ = ["LastValue", "Level", "Model", "MovingMaximum", "RidgeLags"]
