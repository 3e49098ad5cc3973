"""Work, forecast as one series or as rate times length: tokens per second are what sizes pools.

The product is the 0.9-quantile of the rate times the mean length of the last five minutes, at least a window:
what a planner has that forecasts the rate alone. It is judged by the tokens that came, as the forecast of the
tokens themselves is, on the same origins.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.forecast.cases import Case
from benchmarks.forecast.scores import Judged, Score, score
from benchmarks.rows import Row
from pdscale_forecaster import AUTO, Series

_LENGTHS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Joint:
    """``product`` and ``work`` on the origins at which both were said."""

    name: str
    lead: float
    product: Score
    work: Score

    @property
    def ratio(self) -> float:
        """Pinball loss of the forecast of work over that of rate times length; below 1 it is better."""
        return self.work.pinball / self.product.pinball


def joint(cases: Sequence[Case], results: Sequence[Judged]) -> Iterator[Joint]:
    """Of every series of tokens whose requests were judged too."""
    found = {(r.name, r.lead): (case, r) for case, r in zip(cases, results, strict=True)}
    for (name, lead), (case, tokens) in found.items():
        stem, _, figure = name.partition(":")
        pair = found.get((f"{stem}:requests", lead))
        if figure == "requests" or pair is None:
            continue
        requests, rate = pair
        means = {i: _length(case.series, requests.series, i) for i in rate.said.keys() & tokens.said.keys()}
        origins = sorted(i for i, mean in means.items() if not math.isnan(mean))
        if origins:
            product = {i: rate.said[i] * means[i] for i in origins}
            yield Joint(name, lead, _scored(case, origins, product), _scored(case, origins, tokens.said))


def rows(found: Sequence[Joint]) -> list[Row]:
    """Over all series and leads; and how often each held at most."""
    if not found:
        return []
    config = f"{len(found)} series of tokens and leads, geometric mean"
    ratios = [one.ratio for one in found]
    mean = math.exp(math.fsum(map(math.log, ratios)) / len(ratios))
    worst = max(found, key=lambda one: one.ratio)
    held = f"mean over {len(found)} series and leads"
    return [
        Row("pinball(0.9) of forecast work over rate x length", mean, "ratio", config),
        Row(
            "pinball(0.9) of forecast work over rate x length",
            worst.ratio,
            "ratio",
            f"the worst: {worst.name}, {worst.lead:g} s",
        ),
        Row("forecast work, share that held", _mean([o.work.coverage for o in found]), "share", held),
        Row("rate x length, share that held", _mean([o.product.coverage for o in found]), "share", held),
    ]


def table(found: Sequence[Joint]) -> str:
    head = ["| series | lead s | work / (rate x length) | held, work | held, rate x length |"]
    lines = [
        f"| {o.name} | {o.lead:g} | {o.ratio:.3f} | {o.work.coverage:.3f} | {o.product.coverage:.3f} |"
        for o in found
    ]
    return "\n".join([_EXPLAINED, "", *head, "| --- | --: | --: | --: | --: |", *lines, ""])


def _scored(case: Case, origins: Sequence[int], said: Mapping[int, float]) -> Score:
    return score(case, origins, [(said[i], said[i]) for i in origins])


def _length(tokens: Series, requests: Series, origin: int) -> float:
    """Mean tokens of the requests of the last minutes; NaN where none came."""
    first = max(0, origin + 1 - max(1, round(_LENGTHS / tokens.step)))
    both = zip(tokens.values[first : origin + 1], requests.values[first : origin + 1], strict=True)
    known = [(t, r) for t, r in both if not (math.isnan(t) or math.isnan(r))]
    came = math.fsum(r for _, r in known)
    return math.fsum(t for t, _ in known) / came if came > 0 else math.nan


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


_EXPLAINED: Final = f"""Work in tokens per second: the 0.9-quantile that `{AUTO}` says of the tokens, against
the 0.9-quantile that it says of the rate times the mean length of the last five minutes; ratio of pinball
losses, below 1 the first is better."""
