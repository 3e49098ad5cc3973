"""The router's own series: a contract with the operator's queries.

Counted in plain numbers, since one thread counts, and shown to Prometheus' library only when somebody
asks: its counters with labels would cost a tenth of a request.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pdscale.engines.answers import Usage
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.placement.policy import Kind, PlacementReason
from pdscale.router.sums import ARRIVED, COMPLETED, ENDED, Estimates, Tokens

_PREFIX: Final = "pdscale_router_"
_TTFT: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 30, 60, 120)
_TPOT: Final = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1)
_GAPS: Final = (0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 360, 480, 600, 900, 1800)
_COUNTERS: Final = {
    "requests_received": ("Requests that arrived.", ("place",)),
    "requests": ("Requests that ended, by status (499: the client left).", ("place", "code")),
    "placements": ("Rounds by where their prefill ran, and why.", ("place", "placement", "reason")),
    "prompt_tokens": ("Prompt tokens of completed rounds.", ("place",)),
    "uncached_prompt_tokens": ("Prompt tokens that no prefix cache held.", ("place",)),
    "uncached_prompt_tokens_squared": ("Sum of squares of a round's uncached tokens.", ("place",)),
    "output_tokens": ("Output tokens of completed rounds.", ("place",)),
    "output_tokens_squared": ("Sum of squares of a round's output tokens.", ("place",)),
    "completed": ("Rounds whose usage was seen.", ("place",)),
    "estimated_uncached_tokens": ("Uncached tokens as estimated before placement.", ("place",)),
    "arrived_uncached_tokens": ("Uncached prompt tokens of arriving rounds, estimated.", ("place",)),
    "arrived_uncached_tokens_squared": ("Sum of squares of those estimates.", ("place",)),
    "measured_uncached_tokens": ("Uncached tokens of those rounds, by the engine.", ("place",)),
    "ignored_prefiller_headers": ("Prefill replicas named by a header that cannot take work.", ("place",)),
    "slo_requests": ("Streamed or failed rounds by whether they met the SLO.", ("place", "slo", "met")),
}


class Place(StrEnum):
    """Where in a request's path this router stands."""

    FRONT = "front"
    SIDECAR = "sidecar"
    GATE = "gate"

    __hash__ = str.__hash__  # an enum's own is a call in Python, several times a request


class Distribution:
    """A histogram's counts."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, text: str, *, place: Place = Place.FRONT) -> Metric:
        family = HistogramMetricFamily(_PREFIX + name, text, labels=("place",))
        buckets, total = [], 0
        for bound, count in zip((*map(str, map(float, self._bounds)), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        if total:
            family.add_metric((place,), buckets, self._sum)
        return family


class Meters(Collector):
    """All series of one router."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counts: dict[str, defaultdict[tuple[str, ...], float]] = {
            name: defaultdict(float) for name in _COUNTERS
        }
        self._received: defaultdict[Place, int] = defaultdict(int)
        self._ended: defaultdict[tuple[Place, int], int] = defaultdict(int)
        self._tokens, self._estimates = Tokens(), Estimates()
        self._ttft, self._tpot, self._gaps = Distribution(_TTFT), Distribution(_TPOT), Distribution(_GAPS)
        self.registry.register(self)

    def watch(self, name: str, text: str, figure: Callable[[], float]) -> None:
        """A gauge that is read when asked for."""
        Gauge(_PREFIX + name, text, registry=self.registry).set_function(figure)

    def sessions(self, figure: Callable[[], float]) -> None:
        gauge = Gauge(_PREFIX + "sessions", "Sessions bound.", ("place",), registry=self.registry)
        gauge.labels(Place.FRONT).set_function(figure)

    def opens(self, place: Place) -> None:
        """No request yet is a zero: a series that began with its first one would lose it to every rate."""
        self._received[place] += 0

    def received(self, place: Place) -> None:
        self._received[place] += 1

    def ended(self, place: Place, code: int) -> None:
        self._ended[place, code] += 1

    def placed(self, kind: Kind, reason: PlacementReason) -> None:
        self._counts["placements"][Place.SIDECAR, kind, reason] += 1

    def ignored_prefiller(self) -> None:
        self._counts["ignored_prefiller_headers"][(Place.SIDECAR,)] += 1

    def arrived(self, uncached: float) -> None:
        """What a round is thought to need before anybody has computed it."""
        sums = self._estimates
        sums.arrived_uncached_tokens += uncached
        sums.arrived_uncached_tokens_squared += uncached * uncached

    def estimated(self, *, guess: float, actual: float) -> None:
        sums = self._estimates
        sums.estimated_uncached_tokens += guess
        sums.measured_uncached_tokens += actual

    def completed(self, usage: Usage, *, uncached: float) -> None:
        self._tokens.add(usage, uncached)

    def served(self, slo: SLO, *, ttft: Seconds, tpot: Seconds | None) -> None:
        """A streamed round; with a single output token there is no time between tokens to miss."""
        self._ttft.add(ttft)
        in_time, in_pace = ttft <= slo.ttft, tpot is None or tpot <= slo.tpot
        if tpot is not None:
            self._tpot.add(tpot)
            self._judge("tpot", met=in_pace)
        self._judge("ttft", met=in_time)
        self._judge("both", met=in_time and in_pace)

    def gap(self, seconds: Seconds) -> None:
        """From the end of a session's round to the start of its next one here."""
        self._gaps.add(seconds)

    def failed(self) -> None:
        """A round that got no (whole) answer through no fault of its own missed everything."""
        for slo in ("ttft", "tpot", "both"):
            self._judge(slo, met=False)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        self._counts["requests_received"].update({(place,): n for place, n in self._received.items()})
        self._counts["requests"].update({(place, str(code)): n for (place, code), n in self._ended.items()})
        self._add_sums()
        for name, (text, labels) in _COUNTERS.items():
            family = CounterMetricFamily(_PREFIX + name, text, labels=labels)
            for values, count in self._counts[name].items():
                family.add_metric(values, count)
            yield family
        inflight = GaugeMetricFamily(
            _PREFIX + "inflight_requests", "Requests that arrived and have not ended.", labels=("place",)
        )
        for place, received in self._received.items():
            ended = sum(n for (where, _), n in self._ended.items() if where is place)
            inflight.add_metric((place,), received - ended)
        yield inflight
        yield self._ttft.family(
            "time_to_first_token_seconds", "From arrival of a streamed request to its first byte."
        )
        yield self._tpot.family(
            "time_per_output_token_seconds", "Mean time between a streamed round's output tokens."
        )
        yield self._gaps.family(
            "session_gap_seconds",
            "From the end of a session's round to the start of its next one on this replica.",
            place=Place.SIDECAR,
        )

    def _add_sums(self) -> None:
        """Sums over nothing are no series."""
        estimates = self._estimates
        sums: list[tuple[Place, object, tuple[str, ...]]] = []
        if self._tokens.completed:
            sums.append((Place.FRONT, self._tokens, COMPLETED))
        if estimates.arrived_uncached_tokens:
            sums.append((Place.SIDECAR, estimates, ARRIVED))
        if estimates.estimated_uncached_tokens:
            sums.append((Place.SIDECAR, estimates, ENDED))
        for place, source, names in sums:
            for name in names:
                self._counts[name][(place,)] = getattr(source, name)

    def _judge(self, slo: str, *, met: bool) -> None:
        self._counts["slo_requests"][Place.FRONT, slo, "true" if met else "false"] += 1
