"""Quantile forecasts of load series. Knows time series, not serving.

>>> from pdscale_forecaster import Forecast, Series, TooShort, forecast
>>> an_hour = [20.0 + i * i % 11 for i in range(240)]
>>> load = Series(start=0.0, step=15.0, values=tuple(an_hour))
>>> match forecast(load, horizon=60.0, quantile=0.9):
...     case Forecast(value=value, point=point, model=model):
...         print(f"below {value:.0f}, probably {point:.0f}, says {model}")
...     case TooShort(reason=reason):
...         print(f"scale on what is seen now: {reason}")
below 25, probably 22, says Ridge
"""

from pdscale_forecaster.backtest import Backtest, backtest
from pdscale_forecaster.forecaster import Forecaster
from pdscale_forecaster.forecasting import AUTO, MODELS, Remembered, forecast
from pdscale_forecaster.gaps import resample
from pdscale_forecaster.series import Forecast, Series, TooShort

__all__ = [
    "AUTO",
    "MODELS",
    "Backtest",
    "Forecast",
    "Forecaster",
    "Remembered",
    "Series",
    "TooShort",
    "backtest",
    "forecast",
    "resample",
]
