"""How wrong forecasts were. All take arrays of the same length and give one figure."""

import numpy as np

from pdscale_forecaster.gaps import Values


def pinball(actual: Values, forecast: Values, quantile: float) -> float:
    """Mean pinball loss: being too low costs ``quantile`` a unit, being too high the rest of one.

    Its minimum is at the true quantile, so it judges level and width of a forecast at once.
    """
    short = actual - forecast
    return float(np.mean(np.maximum(quantile * short, (quantile - 1.0) * short)))


def coverage(actual: Values, forecast: Values) -> float:
    """Share of instants at which the load was not above its forecast, rounding errors forgiven."""
    return float(np.mean(actual <= forecast * (1 + 1e-9) + 1e-12))


def wape(actual: Values, forecast: Values) -> float:
    """Sum of absolute errors over sum of the load; inf if there was no load but an error."""
    wrong, load = float(np.abs(actual - forecast).sum()), float(np.abs(actual).sum())
    if wrong == 0:
        return 0.0
    return wrong / load if load else float("inf")
