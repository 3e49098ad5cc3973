"""Many decode steps as one event.

While the batch B stays, every step makes the resident tokens S grow by B. On a ``StepLine`` (fixed f, slope
c) step i therefore takes first + i * growth with first = f + c S and growth = c B, and k steps take

    total(k) = k first + growth k (k - 1) / 2

With p = first - growth / 2, the k that fill e seconds solve growth k^2 / 2 + p k = e:

    k = 2 e / (p + sqrt(p^2 + 2 growth e))

the form of the root without cancellation; p > 0 since S >= B. 64 streams of 2 k tokens on an 8B at H100:
first 11.6 ms, growth 2.8 us; half a second are 42.9, so the 43rd step is under way.
"""

import math
from typing import Final

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.model import PerformanceModel, StepLine

_ROUNDING: Final = 1e-12  # relative: an instant that is a boundary but for rounding is that boundary


def total_seconds(steps: int, first: Seconds, growth: Seconds) -> Seconds:
    return steps * first + growth * (steps * (steps - 1)) * 0.5


def steps_to_reach(elapsed: Seconds, first: Seconds, growth: Seconds) -> int:
    """The least number of steps, at least one, that take ``elapsed`` seconds or longer."""
    p = first - growth * 0.5
    steps = math.ceil(2.0 * elapsed / (p + math.sqrt(p * p + 2.0 * growth * elapsed)))
    least = elapsed * (1.0 - _ROUNDING)
    while steps > 1 and total_seconds(steps - 1, first, growth) >= least:
        steps -= 1
    while total_seconds(steps, first, growth) < least:
        steps += 1
    return max(1, steps)


def slow_steps(steps: int, first: Seconds, growth: Seconds, limit: Seconds) -> int:
    """How many of the steps take longer than ``limit``: the last ones, since steps only grow."""
    if first > limit:
        return steps
    if first + growth * (steps - 1) <= limit:
        return 0
    return max(0, steps - 1 - int((limit - first) / growth))


class Lines:
    """The step lines of one model by batch: asking it anew at every join would cost more than the join."""

    __slots__ = ("_known", "_model")

    def __init__(self, model: PerformanceModel) -> None:
        self._model = model
        self._known: dict[int, tuple[Tokens, StepLine]] = {}

    def at(self, batch: int, context: Tokens) -> StepLine:
        known = self._known.get(batch)
        if known is not None and known[0] <= context <= known[1].up_to:
            return known[1]
        line = self._model.step_line(batch, context)
        if line.per_token < 0 or not line.seconds(context) > 0:
            raise ValueError(
                f"{self._model.name}: a step of {batch} sequences must take longer than 0s and not less with "
                f"more context, got {line} at {context} tokens"
            )
        self._known[batch] = (context, line)
        return line
