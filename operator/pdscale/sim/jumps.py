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
from pdscale.perf.noise import Noise
from pdscale.sim.streams import Streams

_ROUNDING: Final = 1e-12  # relative: an instant that is a boundary but for rounding is that boundary


def total_seconds(steps: int, first: Seconds, growth: Seconds) -> Seconds:
    return steps * first + growth * (steps * (steps - 1)) * 0.5


def steps_to_reach(elapsed: Seconds, first: Seconds, growth: Seconds) -> int:
    """The least number of steps, at least one, that take ``elapsed`` seconds or longer."""
    p = first - growth * 0.5
    steps = math.ceil(2.0 * elapsed / (p + math.sqrt(p * p + 2.0 * growth * elapsed)))
    least = elapsed * (1.0 - _ROUNDING)
    # Rounding may have put the root a step off; total_seconds is written out, as a call costs more than it.
    while steps > 1 and (steps - 1) * first + growth * ((steps - 1) * (steps - 2)) * 0.5 >= least:
        steps -= 1
    while steps * first + growth * (steps * (steps - 1)) * 0.5 < least:
        steps += 1
    return steps if steps > 1 else 1


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


class Jump:
    """The steps under way: ``left`` to come, the next of which takes ``first`` seconds; none with 0 left."""

    __slots__ = ("_growth", "_lines", "_noise", "_noisy", "first", "left")

    def __init__(self, model: PerformanceModel, noise: Noise) -> None:
        self.left = 0
        self.first: Seconds = 0.0
        self._growth: Seconds = 0.0
        self._lines = Lines(model)
        self._noise, self._noisy = noise, noise.cv > 0

    def plan(self, streams: Streams, free: int) -> Seconds | None:
        """To the next end of an answer or of the step line, or until ``free`` tokens are full. How long it
        takes; ``None`` if not even one step fits."""
        steps, batch, context = streams.steps_to_next_end, streams.batch, streams.context
        if steps * batch > free:
            steps = free // batch
            if steps < 1:
                return None
        line = self._lines.at(batch, context)
        if context + (steps - 1) * batch > line.up_to:
            steps = int((line.up_to - context) // batch) + 1
        first, growth = line.fixed + line.per_token * context, line.per_token * batch
        if self._noisy:
            factor = self._noise.factor(steps)
            first, growth = first * factor, growth * factor
        self.left, self.first, self._growth = steps, first, growth
        return total_seconds(steps, first, growth)

    def begun_within(self, elapsed: Seconds) -> int:
        """How many steps have begun before so many seconds are over."""
        return steps_to_reach(elapsed, self.first, self._growth)

    def take(self, steps: int, limit: Seconds) -> tuple[Seconds, int]:
        """So many of them are over: their seconds, and how many of them took longer than ``limit``."""
        first, growth = self.first, self._growth
        last = first + growth * (steps - 1)
        self.first = last + growth
        self.left -= steps
        return steps * (first + last) * 0.5, slow_steps(steps, first, growth, limit) if last > limit else 0
