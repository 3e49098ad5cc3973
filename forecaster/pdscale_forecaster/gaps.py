"""What a gap in a series means: nothing is known there, and in particular not that the load was zero.

Models that look back over several samples need numbers, so a *short* gap is bridged by a straight
line between its neighbours, for looking back only: an estimated sample is never forecast, never
scored and never fitted to. Across a *long* gap the past says little about the present, so the
series is split there and nothing looks back beyond it.
"""

import math

import numpy as np
from numpy.typing import NDArray

from pdscale_forecaster.series import Series

Values = NDArray[np.float64]

# Four samples of 15 s are a minute: the order of one restart of a scraper, and shorter than load
# takes to change its regime.
SHORT_GAP = 4


def bridge_short(values: Values, longest: int = SHORT_GAP) -> Values:
    """Straight lines over gaps of at most ``longest`` samples that are known on both sides."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < 2:
        return values.copy()
    inner = np.arange(known[0], known[-1] + 1)
    bridged = values.copy()
    bridged[inner] = np.interp(inner, known, values[known])
    long = np.flatnonzero(np.diff(known) > longest + 1)
    for before, after in zip(known[long], known[long + 1], strict=True):
        bridged[before + 1 : after] = np.nan
    return bridged


def carry_forward(values: Values) -> Values:
    """The last known sample at each instant; NaN before the first."""
    seen = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(seen >= 0, values[seen], np.nan)


def run_starts(values: Values) -> NDArray[np.intp]:
    """For each sample the first index of the unbroken run that it ends; its own index in a gap."""
    index = np.arange(len(values))
    unknown = np.isnan(values)
    breaks = np.where(unknown, index, -1)
    return np.where(unknown, index, np.maximum.accumulate(breaks) + 1)


def resample(series: Series, step: float, *, least_known: float = 0.5) -> Series:
    """Means over bins of ``step`` seconds; a bin of which less is known than ``least_known`` is a gap.

    Each bin is stamped with its last sample's instant, so that a bin never contains the future. The
    oldest samples are dropped when they do not fill a bin.
    """
    per_bin = step / series.step
    if per_bin < 1 or not math.isclose(per_bin, round(per_bin)):
        raise ValueError(f"step must be a multiple of series.step ({series.step}s), got {step}s")
    size = round(per_bin)
    spare = len(series.values) % size
    bins = np.array(series.values[spare:], dtype=np.float64).reshape(-1, size)
    known = (~np.isnan(bins)).sum(axis=1)
    sums = np.nansum(bins, axis=1)
    means = np.where(known >= max(1.0, least_known * size), sums / np.maximum(known, 1), np.nan)
    first = series.start + (spare + size - 1) * series.step
    return Series(first, size * series.step, tuple(means.tolist()))
