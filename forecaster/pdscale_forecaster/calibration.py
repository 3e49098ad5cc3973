"""Quantiles from a model's own past errors, so that they hold as often as they say.

A model's spread is not modelled but measured: its out-of-sample errors are collected in units of
``forecast + mean load so far``, and the forecast's quantile is the forecast plus the same quantile
of those errors (split conformal prediction). The unit is the middle way between "errors grow with
the load" and "errors are as large when idle": a plain ratio explodes when a forecast is next to zero.

The rank is ceil((n + 1) * quantile) of n errors, which covers at least ``quantile`` if errors are
exchangeable. Load is not: errors of neighbouring instants overlap and regimes change. Therefore
``hindsight`` also says what quantiles would have been given in the past, each from the errors known
at that instant, and the coverage that is reported is counted there.
"""

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from pdscale_forecaster.gaps import Values
from pdscale_forecaster.models.base import Model

# An error of a million times the load that was expected is "no idea" and need not be told apart.
_WORST = 1e6

# Forecasts are refitted that many times while looking for out-of-sample errors.
_FOLDS = 4


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of forecasts made at ``origins`` (indices), in ``units`` that were known there."""

    origins: NDArray[np.intp]
    steps: int
    forecasts: Values
    actual: Values
    units: Values

    @property
    def scaled(self) -> Values:
        return np.clip((self.actual - self.forecasts) / self.units, -1.0, _WORST)

    def quantile_of(self, forecast: float, unit: float, quantile: float) -> float:
        ordered = np.sort(self.scaled)
        return max(0.0, forecast + float(ordered[_rank(len(ordered), quantile)]) * unit)


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Quantiles as they would have been given at ``origins``, one row each, and what came."""

    origins: NDArray[np.intp]
    quantiles: tuple[float, ...]
    forecasts: Values
    actual: Values


def out_of_sample(model: Model, values: Values, *, first: int) -> Values:
    """Forecasts from index ``first`` on, each by a model that was fitted to earlier samples only."""
    forecasts = np.full(len(values), np.nan)
    edges = np.linspace(first, len(values), _FOLDS + 1).astype(int).tolist()
    for start, end in pairwise(edges):
        if start < end:
            fitted = clone(model).fit(values[:start])
            forecasts[start:end] = fitted.predict(values[:end])[start:end]
    return forecasts


def errors(values: Values, forecasts: Values, steps: int) -> Errors:
    """Pairs of a forecast from a known sample and the known sample that it was about."""
    made, actual = forecasts[:-steps], values[steps:]
    origins = np.flatnonzero(~np.isnan(made) & ~np.isnan(actual) & ~np.isnan(values[:-steps]))
    scale = units(values, forecasts)
    return Errors(origins, steps, made[origins], actual[origins], scale[origins])


def units(values: Values, forecasts: Values) -> Values:
    """Forecast plus mean load so far; one where both are zero, as nothing else is known there."""
    known = ~np.isnan(values)
    means = np.cumsum(np.where(known, values, 0.0)) / np.maximum(1, np.cumsum(known))
    scale = np.nan_to_num(forecasts) + means
    return np.where(scale > 1.0 / _WORST, scale, 1.0)


def hindsight(past: Errors, quantiles: Sequence[float], *, least: int) -> Hindsight:
    """What would have been said at each origin, once ``least`` errors had become known."""
    scaled = past.scaled.tolist()
    known_at = (past.origins + past.steps).tolist()
    ordered: list[float] = []
    rows, judged, arrived = [], [], 0
    for i, origin in enumerate(past.origins.tolist()):
        while known_at[arrived] <= origin:
            insort(ordered, scaled[arrived])
            arrived += 1
        if arrived >= least:
            rows.append([ordered[_rank(arrived, q)] for q in quantiles])
            judged.append(i)
    picked = np.array(judged, dtype=np.intp)
    widths = np.array(rows, dtype=np.float64).reshape(len(rows), len(quantiles))
    said = past.forecasts[picked, None] + widths * past.units[picked, None]
    return Hindsight(past.origins[picked], tuple(quantiles), np.maximum(0.0, said), past.actual[picked])


def _rank(count: int, quantile: float) -> int:
    """Index of the conformal quantile among ``count`` ordered errors: 20, 0.9 -> the 19th."""
    # The small term keeps (9 + 1) * 0.9 = 9.000000000000002 from asking for the 10th of nine.
    return max(0, min(count, math.ceil((count + 1) * quantile - 1e-9)) - 1)
