"""What lines and trees share: rows to learn from, and the way from a change back to a load.

Targets are changes of the logarithm over ``steps`` samples. Forecasts are held within the changes
seen while fitting: regressions extrapolate without shame after a gap or a step, a fleet should not.
"""

from dataclasses import dataclass

import numpy as np

from pdscale_forecaster.gaps import Values, carry_forward
from pdscale_forecaster.models.columns import columns

# Keeps the logarithms finite when all that the fit has seen is next to nothing.
_LEAST_SCALE = 1e-9


@dataclass(frozen=True, slots=True)
class Frame:
    """What a forecast needs of a fit's rows; ``season`` is None where fewer than two were seen."""

    scale: float
    season: int | None
    bounds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rows:
    """``columns[i]`` and the change that followed. Up to a megabyte, so no model keeps them."""

    columns: Values
    targets: Values
    frame: Frame


def rows_of(values: Values, *, steps: int, season: int | None, most: int) -> Rows | None:
    """The last ``most`` pairs of known samples; None if there is none."""
    known = values[~np.isnan(values)]
    scale = max(_LEAST_SCALE, float(known.mean()) if len(known) else 0.0)
    usable_season = season if season is not None and len(values) >= 2 * season + steps else None
    found, logs = columns(values, scale, steps=steps, season=usable_season)
    change = np.log1p(values[steps:] / scale) - logs[:-steps]
    usable = np.flatnonzero(~np.isnan(change) & ~np.isnan(values[:-steps]))
    # Within the first season there is no season before.
    usable = usable[usable >= (usable_season or 0)][-most:]
    if not len(usable):
        return None
    targets = change[usable]
    bounds = (float(targets.min()), float(targets.max()))
    return Rows(found[usable], targets, Frame(scale, usable_season, bounds))


def ahead_of(values: Values, logs: Values, change: Values, seen: Frame) -> Values:
    """Loads from forecast changes; what was said at the last known sample where one is unknown."""
    ahead = np.maximum(0.0, np.expm1(logs + np.clip(change, *seen.bounds))) * seen.scale
    # A bridge over an open gap would lean on its far end, which at that instant is the future.
    return carry_forward(np.where(np.isnan(values), np.nan, ahead))
