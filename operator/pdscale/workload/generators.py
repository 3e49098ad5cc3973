"""Made-up workloads with known answers, from published lengths and shapes.

`phase_inversion` is the workload on which a dynamic P/D ratio gains most: phases that need prefill
alternate with phases that need decode. Between extremes, each at its own knee, the best split beats every
static one by up to 2 (N - 1) / N for N instances (1.75 for 8; papers survey, section B), so a claim above
it is a bug. `drifting` moves slowly between two mixes, `bursty` adds code requests in bursts whose share
swings, as in the mix of Azure's conversation and code services that no controller of the headroom study
held.

Lengths are means; Azure 2023 conversation and code are Microsoft's published traces (Splitwise, ISCA 2024),
the others the worked workloads of the papers survey. The spread is ours: cv 1, near that of the
conversation trace (0.96).
"""

import math
import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pdscale.model.units import Seconds
from pdscale.workload.arrivals import LengthLaw, arrivals
from pdscale.workload.trace import Trace, open_trace


@dataclass(frozen=True, slots=True)
class Task:
    """Prompt and answer lengths of one kind of request."""

    name: str
    prompt: LengthLaw
    output: LengthLaw


CONVERSATION: Final = Task("conversation", LengthLaw(1155), LengthLaw(211))
CODE: Final = Task("code", LengthLaw(2048), LengthLaw(28))
SUMMARY: Final = Task("summary", LengthLaw(12_000), LengthLaw(45))
CHAT: Final = Task("chat", LengthLaw(550), LengthLaw(350))
REASONING: Final = Task("reasoning", LengthLaw(550), LengthLaw(5000))


@dataclass(frozen=True, slots=True)
class Phase:
    """``rate`` requests per second of one task for ``seconds``."""

    seconds: Seconds
    rate: float
    task: Task

    def __post_init__(self) -> None:
        if not (0 < self.seconds < math.inf and 0 <= self.rate < math.inf):
            raise ValueError(
                f"phase of {self.task.name} needs seconds above 0 and a rate of at least 0, "
                f"got {self.seconds} and {self.rate}"
            )


def phased(phases: Iterable[Phase], *, rng: random.Random, cv: float = 1.0, source: str = "phases") -> Trace:
    """One phase after the other, gamma arrivals of coefficient of variation ``cv``."""
    order = tuple(phases)
    spans, start = [], 0.0
    for phase in order:
        spans.append((start, phase.seconds, phase.rate))
        start += phase.seconds
    at, prompt, output = array("d"), array("q"), array("q")
    for which, t in arrivals(spans, cv=cv, rng=rng):
        at.append(t)
        prompt.append(order[which].task.prompt.draw(rng))
        output.append(order[which].task.output.draw(rng))
    return open_trace(source, at, prompt, output)


def phase_inversion(
    heavy_prefill: Phase, heavy_decode: Phase, *, cycles: int, rng: random.Random, cv: float = 1.0
) -> Trace:
    """Two phases in turn, ``cycles`` times. Scale each rate to its own knee for the widest gap."""
    if cycles < 1:
        raise ValueError(f"phase_inversion.cycles must be at least 1, got {cycles}")
    return phased([heavy_prefill, heavy_decode] * cycles, rng=rng, cv=cv, source="phase inversion")


def drifting(from_task: Phase, to_task: Phase, *, steps: int, rng: random.Random, cv: float = 1.0) -> Trace:
    """From one mix to the other in ``steps`` equal steps: the first's rate falls as the second's rises.

    Takes the first phase's seconds; each side's rate is what it has when it is alone.
    """
    if steps < 2:
        raise ValueError(f"drifting.steps must be at least 2, got {steps}")
    seconds = from_task.seconds / steps
    shares = [k / (steps - 1) for k in range(steps)]
    falling = [Phase(seconds, from_task.rate * (1 - s), from_task.task) for s in shares]
    rising = [Phase(seconds, to_task.rate * s, to_task.task) for s in shares]
    return merged([phased(falling, rng=rng, cv=cv), phased(rising, rng=rng, cv=cv)], source="drifting mix")


def bursty(
    *,
    seconds: Seconds,
    steady_rate: float,
    burst_rate: float,
    rng: random.Random,
    steady: Task = CONVERSATION,
    burst: Task = CODE,
    period: Seconds = 1800.0,
    burst_cv: float = 3.0,
) -> Trace:
    """A steady Poisson stream, and one of bursts whose mean rate swings between 0 and twice ``burst_rate``.

    The swing is a raised cosine of ``period`` in steps of a 60th of it; gaps between bursts' requests have cv
    ``burst_cv``. Half an hour and the lengths are those of the study's mix; a cv of 3 is Mooncake's.
    """
    step = period / 60
    count = math.ceil(seconds / step)
    swing = [
        Phase(min(step, seconds - k * step), burst_rate * (1 - math.cos(2 * math.pi * (k + 0.5) / 60)), burst)
        for k in range(count)
    ]
    return merged(
        [
            phased([Phase(seconds, steady_rate, steady)], rng=rng),
            phased(swing, rng=rng, cv=burst_cv),
        ],
        source="bursty mix",
    )


def merged(traces: Sequence[Trace], *, source: str) -> Trace:
    """Independent requests of several traces on one clock; sessions do not survive it."""
    if any(trace.sessions for trace in traces):
        raise ValueError(f"{source}: traces with sessions cannot be merged")
    return open_trace(
        source,
        [t for trace in traces for t in trace.at],
        [n for trace in traces for n in trace.prompt],
        [n for trace in traces for n in trace.output],
    )
