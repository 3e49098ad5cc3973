"""Who exports what a history is made of, and whether each of them is heard now.

One figure stands for each scrape, since that brings all of them or none. Ages are counted from the
history's own end: a verdict does not change with the time of day at which it is read.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pdscale.scaling.autoscaler import MOST_AGE_STEPS
from pdscale.scaling.history import History
from pdscale_forecaster.series import Series


class Exporter(StrEnum):
    """Whose figures they are, as a person would call them."""

    FRONT = "front routers"
    SIDECARS = "routers beside engines"
    ENGINES = "decode engines"


@dataclass(frozen=True, slots=True)
class Freshness:
    """``reason`` says what is lacking where ``fresh`` is false, without ages: they grow by themselves."""

    exporter: Exporter
    fresh: bool
    reason: str


# The front routers' rounds stand for themselves: without their sums a rate sizes nothing.
_WHILE_BUSY: Final = (
    (Exporter.FRONT, "completed"),
    (Exporter.SIDECARS, "arrived_tokens"),
    (Exporter.ENGINES, "decode_streams"),
)


def freshness(history: History) -> Iterator[Freshness]:
    """A verdict for each exporter that ought to be heard; front routers first.

    Of a service that has had no request, only the front routers tell: other series begin with the first one.
    """
    yield _judged(Exporter.FRONT, "request_rate", history.request_rate)
    if not any(rate > 0 for rate in history.request_rate.values):
        return
    for exporter, measure in _WHILE_BUSY:
        series: Series | None = getattr(history, measure)
        if series is not None:
            yield _judged(exporter, measure, series)


def _judged(exporter: Exporter, measure: str, series: Series) -> Freshness:
    what = f"{measure} of {exporter}"
    newest = series.values[-MOST_AGE_STEPS:]
    if not all(map(math.isnan, newest)):
        return Freshness(exporter, True, f"{what} is known")
    if series.known:
        return Freshness(exporter, False, f"{what} is no longer told")
    return Freshness(exporter, False, f"{what} was never told in the history")
