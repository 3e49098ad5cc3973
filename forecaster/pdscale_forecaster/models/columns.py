"""Columns for regressions on the recent past and on the calendar, shared by lines and trees.

Loads enter as logarithms relative to a scale, so that a doubling weighs the same at any load; all
columns but those of volatility and calendar are differences from the last value, and are 0 when the
load stands still. Rows of unknown samples are filled and must not be used.
"""

import numpy as np
from numpy.typing import NDArray

from pdscale_forecaster.gaps import Values, bridge_short, run_starts

_LAGS = (1, 2, 3, 5)
_MEANS = (3, 6, 18, 72)
_VOLATILITIES = (6, 36)
_HARMONICS = (1, 2)

# Below a tenth of a percent a change is none.
_LEAST_CHANGE = 1e-3


def look_back(steps: int, season: int | None) -> int:
    """Samples, the present one included, on which a row of ``columns`` depends."""
    recent = max(*_MEANS, *_VOLATILITIES, 4 * steps) + steps
    return recent + (0 if season is None else season + max(_MEANS))


def columns(values: Values, scale: float, *, steps: int, season: int | None) -> tuple[Values, Values]:
    """One row a sample, and the logarithm of the last value that they are relative to."""
    bridged = bridge_short(values)
    starts = run_starts(bridged)
    logs = np.log1p(bridged / scale)
    change = logs - lagged(logs, steps)

    def trailing(window: int) -> Values:
        return np.log1p(trailing_mean(bridged, starts, window) / scale) - logs

    found = [lagged(logs, lag) - logs for lag in _LAGS]
    found += [trailing(window) for window in (*_MEANS, 4 * steps)]
    found.append(change)
    sizes = np.nan_to_num(np.abs(change))
    found += [np.log(_LEAST_CHANGE + trailing_mean(sizes, starts, window)) for window in _VOLATILITIES]
    if season is not None:
        calm = trailing(_MEANS[1]) + logs
        found.append(lagged(logs, season - steps) - lagged(logs, season))
        found.append(lagged(calm, season - steps) - logs)
        found += calendar(len(values), season, ahead=steps, harmonics=_HARMONICS)
    return np.nan_to_num(np.column_stack(found)), logs


def calendar(samples: int, season: int, *, ahead: int, harmonics: tuple[int, ...]) -> list[Values]:
    """Sines and cosines of the phase ``ahead`` samples later."""
    phase = 2 * np.pi * (np.arange(samples) + ahead) / season
    return [wave(k * phase) for k in harmonics for wave in (np.sin, np.cos)]


def lagged(values: Values, lag: int) -> Values:
    lag = min(max(0, lag), len(values))
    return np.concatenate([np.full(lag, np.nan), values[: len(values) - lag]])


def trailing_mean(values: Values, starts: NDArray[np.intp], window: int) -> Values:
    """Means over at most ``window`` samples of the run that each sample ends; NaN in a gap."""
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    after = np.arange(1, len(values) + 1)
    first = np.maximum(starts, after - window)
    means = np.maximum(0.0, sums[after] - sums[first]) / (after - first)
    return np.where(np.isnan(values), np.nan, means)
