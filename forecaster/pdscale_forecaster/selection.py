"""Which model to believe for a series: the one that would have served best so far.

Models are compared on the same past instants by pinball loss at the lead time, over a fixed set of quantiles
and not only at the one asked for: the choice then does not depend on the quantile, and a higher
quantile can never give a lower forecast through a change of the model. Ties go to the ensemble where there is
one, whose mean is safe with models of which none is clearly best, and else to the simpler model. What
is a tie depends on how much was seen: a few percent on an hour of history are luck. A model that was
exceeded far more often than it said switches itself off however well it scores.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pdscale_forecaster.calibration import Record
from pdscale_forecaster.verdict import JUDGED

# Exceeded twice as often as said.
_LEAST_COVERAGE = 0.8

# Three misses of ten are no evidence. With fifty independent forecasts, 0.8 is 2.4 standard deviations below
# 0.9; with fewer it takes as many standard deviations. Twelve: 0.9 - 0.1 * sqrt(50 / 12) = 0.70.
_EVIDENCE = 50

# Better by less than this is a tie: 2 % and what luck makes of n independent forecasts, 3 % of 100.
_MARGIN = 0.02
_LUCK = 0.3

# Independent forecasts below which nothing is compared: ten minutes ahead on twenty minutes of forecasts.
_FEW = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """``reason`` says which models switched themselves off; empty if none did."""

    name: str
    reason: str = ""


def best_of(records: Mapping[str, Record]) -> Choice:
    """The model to use; ``records`` come in the order of preference and saw the same instants."""
    off = {name: share for name, record in records.items() if (share := poor_coverage(record)) is not None}
    reason = "; ".join(switched_off(name, share) for name, share in off.items())
    honest = [name for name in records if name not in off]
    if not honest:
        return Choice(max(off, key=lambda name: off[name]), f"{reason}; the best of them is used")
    best = min(honest, key=lambda name: _loss(records[name]))
    independent = _independent(records[best])
    if independent < _FEW:
        return Choice(honest[0], reason)
    margin = _MARGIN + _LUCK / math.sqrt(independent)
    good = [name for name in honest if _loss(records[name]) <= _loss(records[best]) / (1 - margin)]
    return Choice(good[0], reason)


def poor_coverage(record: Record) -> float | None:
    """The share of 0.9-quantiles that held where that is too small; None where it is not, or not known."""
    share = record.verdict.coverage(judged=True)
    if share is None or record.verdict.judged < _EVIDENCE:
        return None
    doubt = math.sqrt(max(1.0, _EVIDENCE / _independent(record)))
    return share if share < JUDGED - (JUDGED - _LEAST_COVERAGE) * doubt else None


def switched_off(name: str, share: float) -> str:
    return f"{name} switched off: {share:.0%} of its {JUDGED:g}-quantiles held"


def _independent(record: Record) -> float:
    """Forecasts judged that share no time: those of neighbouring instants tell nearly the same."""
    return record.verdict.judged / record.steps


def _loss(record: Record) -> float:
    return sum(record.verdict.losses.values())
