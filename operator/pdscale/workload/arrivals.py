"""Requests from rates: arrivals by a renewal process, lengths by a lognormal law.

Arrivals: gaps of mean 1 are drawn in "expected requests" and mapped back to time through the integral of the
rate, so the burstiness is the same in every window and crosses their borders. Gamma gaps with coefficient of
variation ``cv``; cv 1 is Poisson. ServeGen finds gamma and Weibull gaps with cv above 1 in production (arXiv
2505.09999), which Poisson arrivals understate.

Lengths: lognormal, the usual shape of prompts and answers, given by mean and coefficient of variation;
prompt and answer are independent, since the published series give the means alone.
"""

import math
import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pdscale.model.units import Seconds, Tokens
from pdscale.workload.rates import RateSeries
from pdscale.workload.trace import Trace, open_trace


@dataclass(frozen=True, slots=True)
class LengthLaw:
    """Lognormal lengths of ``mean`` tokens with coefficient of variation ``cv``, in 1..``most``.

    What lies beyond ``most`` is cut to it, which lowers the mean a little: 0.1 % at ten times the mean and
    cv 1.
    """

    mean: Tokens
    cv: float = 1.0
    most: Tokens = math.inf

    def __post_init__(self) -> None:
        if not (1 <= self.mean < math.inf and 0 <= self.cv < math.inf and self.most >= 1):
            raise ValueError(
                f"length law needs a finite mean of at least 1, cv of at least 0 and most of at least 1, "
                f"got {self.mean}, {self.cv} and {self.most}"
            )

    def draw(self, rng: random.Random) -> int:
        variance = math.log1p(self.cv * self.cv)
        length = self.mean * math.exp(rng.gauss(0.0, math.sqrt(variance)) - variance / 2)
        return int(min(self.most, max(1, round(length))))


def arrivals(
    spans: Sequence[tuple[Seconds, Seconds, float]], *, cv: float, rng: random.Random
) -> Iterator[tuple[int, Seconds]]:
    """(which span, time) of each arrival in spans of (start, seconds, rate), in order of time."""
    if not 0 < cv < math.inf:
        raise ValueError(f"arrivals.cv must be above 0 and finite, got {cv}")
    shape = 1 / (cv * cv)
    due = rng.gammavariate(shape, 1 / shape)
    for which, (start, seconds, rate) in enumerate(spans):
        expected = seconds * rate
        while due < expected:
            yield which, start + due / rate
            due += rng.gammavariate(shape, 1 / shape)
        due -= expected


def expand(
    series: RateSeries,
    *,
    prompt: LengthLaw,
    output: LengthLaw,
    rng: random.Random,
    cv: float = 1.0,
) -> Trace:
    """A trace that follows the series. Windows without data stay empty.

    The laws' means hold for windows that tell none; where a window tells its mean, the law gives the spread.
    """
    spans = [
        (t, seconds, rate if rate == rate else 0.0)
        for t, seconds, rate in zip(series.at, series.window, series.rate, strict=True)
    ]
    laws = [
        (_with_mean(prompt, series.prompt[i]), _with_mean(output, series.output[i]))
        for i in range(len(series))
    ]
    at, prompts, outputs = array("d"), array("q"), array("q")
    for which, t in arrivals(spans, cv=cv, rng=rng):
        at.append(t)
        prompts.append(laws[which][0].draw(rng))
        outputs.append(laws[which][1].draw(rng))
    return open_trace(series.source, at, prompts, outputs)


def _with_mean(law: LengthLaw, mean: float) -> LengthLaw:
    return law if math.isnan(mean) else LengthLaw(max(1.0, mean), law.cv, law.most)
