"""What forecasts were worth on one case, and the yardsticks beside them.

The yardstick, *last value*, is the last value times the 0.9-quantile of all past ratios of a load to
the load ``steps`` before, as far as they had come to light: what one gets without a forecaster. *Bare* is the
last value itself, taken for a quantile.
"""

import math
import re
from bisect import insort
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from benchmarks.forecast.cases import Case
from pdscale_forecaster import AUTO, Forecaster, TooShort
from pdscale_forecaster.early import rank
from pdscale_forecaster.losses import coverage, pinball, wape
from pdscale_forecaster.rolling import rolling

QUANTILE: Final = 0.9
LAST: Final = "last value"
BARE: Final = "bare last value"

# Ratios below which no quantile 0.9 is taken; the forecaster's own least.
_LEAST = 20


@dataclass(frozen=True, slots=True)
class Score:
    """``pinball`` is a share of the mean load, as WAPE is."""

    pinball: float
    coverage: float
    wape: float


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores on the same ``origins``; ``chosen`` counts what the choice used, ``off`` who was off.

    ``said`` are the choice's quantiles by origin.
    """

    name: str
    lead: float
    two_days: bool
    origins: int
    scores: Mapping[str, Score]
    chosen: Mapping[str, int] = field(default_factory=dict)
    off: Mapping[str, int] = field(default_factory=dict)
    said: Mapping[int, float] = field(default_factory=dict)

    def ratio(self, name: str) -> float:
        """Pinball of ``name`` over that of the yardstick; NaN where it said nothing."""
        if name not in self.scores:
            return math.nan
        return self.scores[name].pinball / self.scores[LAST].pinball


def judged(case: Case, *, every: int = 1, origins: Sequence[int] | None = None) -> Judged:
    """Feed one forecaster sample by sample, and score what every model said at the origins."""
    asked = list(case.origins(every) if origins is None else origins)
    values = case.series.values
    forecaster = Forecaster(horizon=case.lead, quantile=QUANTILE)
    said: dict[str, dict[int, tuple[float, float]]] = {}
    chosen: Counter[str] = Counter()
    off: Counter[str] = Counter()
    for origin, models, _ in rolling(case.series, asked, steps=case.steps, say=forecaster.candidates):
        if isinstance(models, TooShort):
            continue
        chosen[models[AUTO].model] += 1
        off.update(re.findall(r"(\w+) switched off", models[AUTO].reason))
        for name, one in models.items():
            said.setdefault(name, {})[origin] = (one.value, one.point)
    common = sorted(said.get(AUTO, {}))
    ratios = by_ratios({i: values[i] for i in range(len(values))}, case, common)
    said |= {LAST: {i: (ratios[i], values[i]) for i in ratios}, BARE: {i: (values[i],) * 2 for i in ratios}}
    scores = {
        name: score(case, common, [made[i] for i in common])
        for name, made in said.items()
        if common and made.keys() >= set(common)
    }
    high = {i: said[AUTO][i][0] for i in common}
    return Judged(case.name, case.lead, case.two_days, len(common), scores, dict(chosen), dict(off), high)


def by_ratios(points: Mapping[int, float], case: Case, origins: Sequence[int]) -> dict[int, float]:
    """Points times the quantile of past ratios of what came to the point; only where there are enough."""
    values, steps = case.series.values, case.steps
    ratios: list[float] = []
    made = sorted(i for i in points if not math.isnan(points[i]))
    found, waiting = {}, 0
    for origin in origins:
        while waiting < len(made) and made[waiting] + steps <= origin:
            came, point = values[made[waiting] + steps], points[made[waiting]]
            if point > 0 and not math.isnan(came):
                insort(ratios, came / point)
            waiting += 1
        if len(ratios) >= _LEAST:
            found[origin] = points[origin] * ratios[rank(len(ratios), QUANTILE)]
    return found


def score(case: Case, origins: Sequence[int], said: Sequence[tuple[float, float]]) -> Score:
    actual = np.array([case.series.values[i + case.steps] for i in origins])
    values, points = np.array(said, dtype=np.float64).T
    mean = float(actual.mean()) or 1.0
    return Score(pinball(actual, values, QUANTILE) / mean, coverage(actual, values), wape(actual, points))
