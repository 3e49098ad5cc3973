"""Which model to believe for a series: the one that would have served best so far.

Models are compared on the same past instants by pinball loss, averaged over a fixed set of quantiles
and not only at the one asked for: the choice then does not depend on the quantile, and a higher
quantile can never give a lower forecast through a change of the model. A simpler model wins ties,
since a difference of a few percent on an hour of data is luck. A model that was exceeded far
more often than it said is passed over however well it scores.
"""

from collections.abc import Mapping

from pdscale_forecaster.calibration import Errors, hindsight
from pdscale_forecaster.losses import coverage, pinball

_QUANTILES = (0.5, 0.8, 0.9, 0.95)
_JUDGED = _QUANTILES.index(0.9)

# Exceeded twice as often as said.
_LEAST_COVERAGE = 0.8

# Better by less than this is a tie.
_MARGIN = 0.02


def best_of(candidates: Mapping[str, Errors], *, least: int) -> str:
    """Name of the model to use; ``candidates`` come simplest first and share their origins."""
    losses, covered = {}, {}
    for name, past in candidates.items():
        seen = hindsight(past, _QUANTILES, least=least)
        if not len(seen.origins):
            return next(iter(candidates))
        losses[name] = sum(pinball(seen.actual, seen.forecasts[:, i], q) for i, q in enumerate(_QUANTILES))
        covered[name] = coverage(seen.actual, seen.forecasts[:, _JUDGED])
    honest = [name for name in candidates if covered[name] >= _LEAST_COVERAGE]
    if not honest:
        return max(candidates, key=lambda name: covered[name])
    chosen = honest[0]
    for name in honest[1:]:
        if losses[name] < losses[chosen] * (1 - _MARGIN):
            chosen = name
    return chosen
