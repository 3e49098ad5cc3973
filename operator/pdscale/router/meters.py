"""The router's own series, in a registry of its own: a contract with the operator's queries."""

from collections.abc import Callable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pdscale.engines.answers import Usage
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.placement.policy import Kind, PlacementReason

_TTFT_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 30, 60, 120)
_TPOT_BUCKETS = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1)


class Place(StrEnum):
    """Where in a request's path this router stands."""

    FRONT = "front"
    SIDECAR = "sidecar"
    GATE = "gate"


class Meters:
    """All series of one router."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._received = self._counter("requests_received", "Requests that arrived.", "place")
        self._ended = self._counter(
            "requests", "Requests that ended, by status (499: the client left).", "place", "code"
        )
        self._inflight = Gauge(
            "pdscale_router_inflight_requests",
            "Requests that arrived and have not ended.",
            ("place",),
            registry=self.registry,
        )
        self._placements = self._counter(
            "placements", "Rounds by where their prefill ran, and why.", "place", "placement", "reason"
        )
        self._tokens = {
            name: self._counter(name, text, "place")
            for name, text in (
                ("prompt_tokens", "Prompt tokens of completed rounds."),
                ("uncached_prompt_tokens", "Prompt tokens that no prefix cache held."),
                ("uncached_prompt_tokens_squared", "Sum of squares of a round's uncached tokens."),
                ("output_tokens", "Output tokens of completed rounds."),
                ("output_tokens_squared", "Sum of squares of a round's output tokens."),
                ("completed", "Rounds whose usage was seen."),
            )
        }
        self._estimates = {
            name: self._counter(name, text, "place")
            for name, text in (
                ("estimated_uncached_tokens", "Uncached tokens as estimated before placement."),
                ("measured_uncached_tokens", "Uncached tokens of those rounds, by the engine."),
            )
        }
        self._ttft = Histogram(
            "pdscale_router_time_to_first_token_seconds",
            "From arrival of a streamed request to its first byte.",
            ("place",),
            buckets=_TTFT_BUCKETS,
            registry=self.registry,
        )
        self._tpot = Histogram(
            "pdscale_router_time_per_output_token_seconds",
            "Mean time between a streamed round's output tokens.",
            ("place",),
            buckets=_TPOT_BUCKETS,
            registry=self.registry,
        )
        self._slo = self._counter(
            "slo_requests", "Streamed or failed rounds by whether they met the SLO.", "place", "slo", "met"
        )

    def watch(self, name: str, text: str, figure: Callable[[], float]) -> None:
        """A gauge that is read when asked for."""
        gauge = Gauge(f"pdscale_router_{name}", text, registry=self.registry)
        gauge.set_function(figure)

    def sessions(self, figure: Callable[[], float]) -> None:
        gauge = Gauge("pdscale_router_sessions", "Sessions bound.", ("place",), registry=self.registry)
        gauge.labels(Place.FRONT).set_function(figure)

    def received(self, place: Place) -> None:
        self._received.labels(place).inc()
        self._inflight.labels(place).inc()

    def ended(self, place: Place, code: int) -> None:
        self._ended.labels(place, str(code)).inc()
        self._inflight.labels(place).dec()

    def placed(self, kind: Kind, reason: PlacementReason) -> None:
        self._placements.labels(Place.SIDECAR, kind, reason).inc()

    def estimated(self, *, guess: float, actual: float) -> None:
        for name, tokens in (
            ("estimated_uncached_tokens", guess),
            ("measured_uncached_tokens", actual),
        ):
            self._estimates[name].labels(Place.SIDECAR).inc(tokens)

    def completed(self, usage: Usage, *, uncached: float) -> None:
        for name, figure in (
            ("prompt_tokens", usage.prompt),
            ("uncached_prompt_tokens", uncached),
            ("uncached_prompt_tokens_squared", uncached**2),
            ("output_tokens", usage.completion),
            ("output_tokens_squared", usage.completion**2),
            ("completed", 1),
        ):
            self._tokens[name].labels(Place.FRONT).inc(figure)

    def served(self, slo: SLO, *, ttft: Seconds, tpot: Seconds | None) -> None:
        """A streamed round; with a single output token there is no time between tokens to miss."""
        self._ttft.labels(Place.FRONT).observe(ttft)
        in_time, in_pace = ttft <= slo.ttft, tpot is None or tpot <= slo.tpot
        if tpot is not None:
            self._tpot.labels(Place.FRONT).observe(tpot)
            self._judge("tpot", met=in_pace)
        self._judge("ttft", met=in_time)
        self._judge("both", met=in_time and in_pace)

    def failed(self) -> None:
        """A round that got no (whole) answer through no fault of its own missed everything."""
        for slo in ("ttft", "tpot", "both"):
            self._judge(slo, met=False)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)

    def _judge(self, slo: str, *, met: bool) -> None:
        self._slo.labels(Place.FRONT, slo, str(met).lower()).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"pdscale_router_{name}", text, labels, registry=self.registry)
