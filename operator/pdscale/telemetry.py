"""Logs and metrics of the operator's process.

Metrics live in a registry of their own, so that two operators in one test process do not share
figures. Labels are few: an object's namespace and name, a role, a reason. Gauges of an object vanish
with it, and so do counters that name it; others are per process and stay.
"""

import json
import logging
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pdscale import __version__
from pdscale.model.pools import Role, Targets
from pdscale.settings import LogFormat

NAMESPACE: Final = "pdscale_operator"
TICK_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_FIGURES: Final = {
    "gpus_held": "GPUs of all pods, starting and terminating ones included.",
    "gpu_budget": "Most GPUs that both pools may hold.",
    "overdue_pods": "Pods that were deleted and hold GPUs past their grace period.",
    "attainment_target": "Share of requests that are promised to meet the SLO.",
    "forecast_quantile": "Probability that the request rate stays below its forecast, as asked for.",
    "forecast_coverage": "Share of past forecasts that the request rate stayed below.",
    "forecast_realised_coverage": "Share of the last forecasts made here that the request rate stayed below.",
    "forecast_realised_error_ratio": "Mean error of the last middle forecasts, over the mean request rate.",
    "profile_prefill_factor": "Times what the profile says that prefills are seen to take.",
    "profile_decode_factor": "Times what the profile says that decode steps are seen to take.",
}


class JsonLines(logging.Formatter):
    """One JSON object a line, for collectors."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logs(level: str, form: LogFormat) -> None:
    """Send all records to standard error; kopf's own chatter only from warnings on, or when debugging."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if form is LogFormat.JSON else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel("DEBUG" if level == "debug" else "WARNING")


class Metrics:
    """Everything that ``/metrics`` of the operator shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.ticks = self._counter("ticks", "Ticks of all objects, by how they ended.", "result")
        self.tick_seconds = Histogram(
            "tick_duration_seconds",
            "Time that one tick took, the API server's and Prometheus' answers included.",
            namespace=NAMESPACE,
            buckets=TICK_BUCKETS,
            registry=self.registry,
        )
        self.decisions = self._counter("decisions", "Steps in the trails of plans, by reason.", "reason")
        self.scale_writes = self._counter(
            "scale_writes", "Writes to a scale, by outcome.", "role", "direction", "result"
        )
        labels = ("namespace", "name", "role")
        self._desired = self._gauge("desired_replicas", "Replicas that the plan wants.", *labels)
        self._current = self._gauge("current_replicas", "Replicas that the scale says.", *labels)
        self._ready = self._gauge("ready_replicas", "Replicas that are ready and not terminating.", *labels)
        self._draining = self._gauge(
            "draining_replicas", "Replicas that drain and can still be kept.", *labels
        )
        self._flaps = self._counter("flaps", "Resizes undone within ten minutes, or a part of them.", *labels)
        self._flips = self._counter("flips", "Running replicas that changed their role to this one.", *labels)
        self._api_requests = self._counter(
            "api_requests",
            "Requests to the API server, by answer; kopf's own are not among them.",
            "verb",
            "code",
        )
        self._admissions = self._counter(
            "admission_reviews", "Questions to the validating webhook, by answer.", "kind", "verdict"
        )
        self._forecast = self._gauge(
            "forecast_request_rate", "Forecast quantile of the requests per second.", "namespace", "name"
        )
        self._figures = {
            name: self._gauge(name, text, "namespace", "name") for name, text in _FIGURES.items()
        }
        self._condition = self._gauge(
            "condition", "1 while a condition holds, 0 while it does not.", "namespace", "name", "type"
        )
        self._condition_types: set[str] = set()
        self._leader = self._gauge("leader", "1 while this process may write, else 0.")
        self._leader.set(1)
        info = self._gauge("build_info", "Always 1.", "version", "python")
        info.labels(__version__, platform.python_version()).set(1)

    def leads(self, left: Callable[[], float]) -> None:
        """``left`` says how many seconds this process may still write."""
        self._leader.set_function(lambda: float(left() > 0))

    def replicas(
        self, namespace: str, name: str, *, current: Targets, desired: Targets, ready: Targets
    ) -> None:
        for role in Role:
            self._desired.labels(namespace, name, role).set(desired.of(role))
            self._current.labels(namespace, name, role).set(current.of(role))
            self._ready.labels(namespace, name, role).set(ready.of(role))
            for counter in (self._flaps, self._flips):  # from the start: a rate misses a series' first value
                counter.labels(namespace, name, role)

    def draining(self, namespace: str, name: str, marked: Targets) -> None:
        for role in Role:
            self._draining.labels(namespace, name, role).set(marked.of(role))

    def flapped(self, namespace: str, name: str, role: Role) -> None:
        self._flaps.labels(namespace, name, role).inc()

    def flipped(self, namespace: str, name: str, role: Role) -> None:
        self._flips.labels(namespace, name, role).inc()

    def api_request(self, verb: str, code: str) -> None:
        """``code`` is the answer's status, or ``timeout``, ``unreachable`` or ``not_leading``."""
        self._api_requests.labels(verb, code).inc()

    def admission(self, kind: str, verdict: str) -> None:
        """``verdict`` is ``admitted``, ``refused``, or ``unknown``: admitted, for want of a look."""
        self._admissions.labels(kind, verdict).inc()

    def forecast(self, namespace: str, name: str, rate: float | None) -> None:
        """Without a forecast there is no sample: a gauge of zero would be a claim."""
        if rate is not None:
            self._forecast.labels(namespace, name).set(rate)
        else:
            _drop(self._forecast, namespace, name)

    def figures(self, namespace: str, name: str, known: Mapping[str, float | None]) -> None:
        """Figures of an object by the names in ``_FIGURES``; None takes a sample away."""
        for figure, value in known.items():
            if value is not None:
                self._figures[figure].labels(namespace, name).set(value)
            else:
                _drop(self._figures[figure], namespace, name)

    def conditions(self, namespace: str, name: str, holds: Mapping[str, bool | None]) -> None:
        """An unknown condition has no sample: neither 1 nor 0 would be true."""
        for kind, value in holds.items():
            self._condition_types.add(kind)
            if value is not None:
                self._condition.labels(namespace, name, kind).set(value)
            else:
                _drop(self._condition, namespace, name, kind)

    def forget(self, namespace: str, name: str) -> None:
        for role in Role:
            _drop(self._desired, namespace, name, role)
            _drop(self._current, namespace, name, role)
            _drop(self._ready, namespace, name, role)
            _drop(self._draining, namespace, name, role)
            _drop(self._flaps, namespace, name, role)
            _drop(self._flips, namespace, name, role)
        self.forecast(namespace, name, None)
        self.figures(namespace, name, dict.fromkeys(_FIGURES))
        self.conditions(namespace, name, dict.fromkeys(self._condition_types))

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, namespace=NAMESPACE, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, namespace=NAMESPACE, registry=self.registry)


def _drop(metric: Gauge | Counter, *labels: str) -> None:
    try:
        metric.remove(*labels)
    except KeyError:
        pass  # never set: the object was invalid or paused from the start
