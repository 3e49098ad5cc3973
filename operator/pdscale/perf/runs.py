"""Many decode steps at once: the closed form of a run, and its inverse.

A run is ``steps`` decode steps with an unchanged batch: every step adds one token to every sequence, so
step i reads ``context + i * batch`` resident tokens. Within one `StepLine` the total is an arithmetic
series; a run that outgrows a line continues on the next one. Both functions agree with a loop over
``step_seconds`` up to rounding.
"""

import math

from pdscale.model.units import Seconds, Tokens
from pdscale.perf.model import PerformanceModel, StepLine


def run_seconds(model: PerformanceModel, batch: int, context: Tokens, steps: int) -> Seconds:
    """Seconds that ``steps`` decode steps take, the first one reading ``context`` tokens."""
    total = 0.0
    while steps > 0 and batch > 0:
        line = model.step_line(batch, context)
        count = min(steps, _steps_on(line, batch, context))
        total += _series(line, batch, context, count)
        context += count * batch
        steps -= count
    return total


def steps_within(model: PerformanceModel, batch: int, context: Tokens, *, seconds: Seconds, most: int) -> int:
    """Whole steps of a run that end within ``seconds``, at most ``most``."""
    done = 0
    while done < most and batch > 0:
        line = model.step_line(batch, context)
        count = min(most - done, _steps_on(line, batch, context))
        taken = _series(line, batch, context, count)
        if taken > seconds:
            return done + _steps_of_series(line, batch, context, seconds=seconds, most=count)
        seconds -= taken
        context += count * batch
        done += count
    return done


def _steps_on(line: StepLine, batch: int, context: Tokens) -> int:
    """Steps whose context lies on the line, at least the one that asked for it."""
    return 2**62 if math.isinf(line.up_to) else 1 + max(0, int((line.up_to - context) // batch))


def _series(line: StepLine, batch: int, context: Tokens, steps: int) -> Seconds:
    return steps * line.seconds(context) + line.per_token * batch * steps * (steps - 1) / 2


def _steps_of_series(line: StepLine, batch: int, context: Tokens, *, seconds: Seconds, most: int) -> int:
    """Largest k with series(k) <= seconds: the floored root of c B k^2 / 2 + (step - c B / 2) k = seconds."""
    bend = line.per_token * batch / 2
    slope = line.seconds(context) - bend
    if bend > 0:
        # Of the two forms of the root the one that subtracts nothing: exact for a tiny bend and a tiny slope.
        root = math.sqrt(slope * slope + 4 * bend * seconds)
        guess = 2 * seconds / (slope + root) if slope > 0 else (root - slope) / (2 * bend)
    else:
        guess = seconds / slope if slope > 0 else float(most)
    steps = max(0, min(most, int(guess)))
    while steps < most and _series(line, batch, context, steps + 1) <= seconds:
        steps += 1  # rounding put the guess one short
    while steps > 0 and _series(line, batch, context, steps) > seconds:
        steps -= 1
    return steps
