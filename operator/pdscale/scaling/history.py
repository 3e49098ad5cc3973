"""What the metrics server knows of a ServingDeployment's past, on one time grid."""

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData, Workload
from pdscale_forecaster.series import Series


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean and mean square (raw second moment) of the lengths of so many rounds, in tokens."""

    mean: float
    squared: float
    rounds: float

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(max(0.0, self.squared - self.mean * self.mean) / self.rounds)


@dataclass(frozen=True, slots=True)
class History:
    """Rates per second; all series share start, step and length. NaN where nothing is known.

    ``request_rate`` counts arrivals; the others count rounds that ended, with the sums of their
    lengths and of the squares of their lengths. ``local_share`` is a fraction, NaN while no prefill ran.
    ``decode_streams`` are requests on decode engines at each instant, ``prefill_requests`` those on prefill
    replicas, waiting ones included. ``arrived_*`` are uncached prompt tokens of rounds that *arrived*, as
    routers estimate them to place them, ``ended_estimates`` what they had estimated for rounds that have
    ended; absent or NaN where no router tells.

    The last five are paces of engines, no rates: mean seconds between two tokens of a stream, mean streams on
    its engine as a stream finds them; of a leg on a prefill engine the mean seconds from its first pass to
    its first token, queues excluded, the mean tokens that it computes, and how many legs end in a pass in
    which any does.
    """

    request_rate: Series
    completed: Series
    prompt_tokens: Series
    uncached_tokens: Series
    uncached_tokens_squared: Series
    output_tokens: Series
    output_tokens_squared: Series
    local_share: Series
    decode_streams: Series
    prefill_requests: Series | None = None
    arrived_tokens: Series | None = None
    arrived_tokens_squared: Series | None = None
    ended_estimates: Series | None = None
    inter_token_latency: Series | None = None
    decode_batch: Series | None = None
    prefill_leg_seconds: Series | None = None
    prefill_leg_tokens: Series | None = None
    prefill_legs_per_pass: Series | None = None

    def __post_init__(self) -> None:
        grid = (self.request_rate.start, self.request_rate.step, len(self.request_rate.values))
        for name, series in self._known().items():
            if (series.start, series.step, len(series.values)) != grid:
                raise ValueError(
                    f"history.{name} must share the grid of request_rate {grid}, "
                    f"got {(series.start, series.step, len(series.values))}"
                )

    def packed(self) -> "PackedHistory":
        """The same, for whoever keeps it and does not look."""
        columns = {name: array("d", series.values) for name, series in self._known().items()}
        return PackedHistory(self.request_rate.start, self.request_rate.step, columns)

    def ending(self, index: int, *, window: Seconds) -> "History":
        """What was known of the last ``window`` seconds at a sample, which is the last one then."""
        first = max(0, index + 1 - max(1, math.floor(window / self.request_rate.step)))
        start = self.request_rate.start + first * self.request_rate.step
        return History(
            **{
                name: Series(start, series.step, series.values[first : index + 1])
                for name, series in self._known().items()
            }
        )

    def age(self, now: Seconds) -> Seconds:
        """Seconds since the last instant at which the request rate is known; inf if never."""
        rate = self.request_rate
        for i in range(len(rate.values) - 1, -1, -1):
            if not math.isnan(rate.values[i]):
                return now - (rate.start + i * rate.step)
        return math.inf

    def workload(self, *, window: Seconds) -> Workload | NoData:
        """Mean rate, length moments and least local share over the last ``window`` seconds."""
        rate = _mean(self.request_rate.last(window))
        completed = _sum(self.completed.last(window))
        if rate is None:
            return NoData("no request rate is known in the window")
        if completed <= 0:
            return NoData("no request ended in the window, so lengths are unknown")
        # The least share seen: rounds that went local because prefill replicas were overloaded are demand for
        # prefill replicas, and a mean would take them for relief and shrink the pool that is too small.
        shares = [v for v in self.local_share.last(window).values if not math.isnan(v)]
        return Workload(
            request_rate=rate,
            context_tokens=_sum(self.prompt_tokens.last(window)) / completed,
            uncached_tokens=_sum(self.uncached_tokens.last(window)) / completed,
            uncached_tokens_squared=_sum(self.uncached_tokens_squared.last(window)) / completed,
            output_tokens=_sum(self.output_tokens.last(window)) / completed,
            output_tokens_squared=_sum(self.output_tokens_squared.last(window)) / completed,
            local_share=min(1.0, max(0.0, min(shares, default=0.0))),
        )

    def streams(self, *, samples: int = 3, ago: Seconds = 0.0) -> float | None:
        """Mean of the last numbers of requests on decode engines that were known so many seconds ago."""
        series, past = self.decode_streams, round(ago / self.decode_streams.step)
        return _latest_mean(series.values[: len(series.values) - past], samples)

    def backlog(self) -> float | None:
        """Last known number of requests on prefill replicas; ``None`` where nobody tells."""
        return None if self.prefill_requests is None else _latest_mean(self.prefill_requests.values, 1)

    def estimated(self, *, window: Seconds) -> float | None:
        """Mean uncached tokens of the rounds that ended, as they had been estimated on arrival.

        Over the instants at which both are known: sums of different ones would be of different rounds.
        """
        if self.ended_estimates is None:
            return None
        completed, estimates = 0.0, 0.0
        columns = (self.completed, self.ended_estimates)
        for rounds, tokens in zip(*(c.last(window).values for c in columns), strict=True):
            if not (math.isnan(rounds) or math.isnan(tokens)):
                completed, estimates = completed + rounds, estimates + tokens
        return estimates / completed if completed > 0 and estimates > 0 else None

    def arriving(self, *, window: Seconds) -> Lengths | None:
        """Moments of the uncached prompt tokens of the rounds that arrived in the last ``window`` seconds."""
        if self.arrived_tokens is None or self.arrived_tokens_squared is None:
            return None
        rounds, tokens, squares = 0.0, 0.0, 0.0
        columns = (self.request_rate, self.arrived_tokens, self.arrived_tokens_squared)
        for sample in zip(*(c.last(window).values for c in columns), strict=True):
            if not any(map(math.isnan, sample)):
                rounds, tokens, squares = rounds + sample[0], tokens + sample[1], squares + sample[2]
        if not rounds:
            return None
        mean = tokens / rounds
        return Lengths(mean, max(squares / rounds, mean * mean), rounds * self.request_rate.step)

    def _known(self) -> dict[str, Series]:
        """The series that somebody tells, by the names of their fields."""
        told = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: series for name, series in told if series is not None}


@dataclass(frozen=True, slots=True)
class PackedHistory:
    """A history in a fifth of the memory: hundreds of ticks that wait for their turn hold one each."""

    start: Seconds
    step: Seconds
    columns: "Mapping[str, array[float]]"

    def unpacked(self) -> History:
        series = {name: Series(self.start, self.step, tuple(c)) for name, c in self.columns.items()}
        return History(**series)


def _latest_mean(values: Sequence[float], samples: int) -> float | None:
    known = [v for v in values[-2 * samples :] if not math.isnan(v)][-samples:]
    return math.fsum(known) / len(known) if known else None


def _sum(series: Series) -> float:
    return math.fsum(v for v in series.values if not math.isnan(v))


def _mean(series: Series) -> float | None:
    return _sum(series) / series.known if series.known else None
