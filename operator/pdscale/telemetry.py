"""Logs and metrics of the operator's process.

Metrics live in a registry of their own, so that two operators in one test process do not share
figures. Labels are few: an object's namespace and name, a role, a reason. Gauges of an object vanish
with it; counters are per process and stay.
"""

import json
import logging
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pdscale import __version__
from pdscale.model.pools import Role, Targets
from pdscale.settings import LogFormat

NAMESPACE: Final = "pdscale_operator"
TICK_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


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
        self._forecast = self._gauge(
            "forecast_request_rate", "Forecast quantile of the requests per second.", "namespace", "name"
        )
        self._leader = self._gauge("leader", "1 while this process may write, else 0.")
        self._leader.set(1)
        info = self._gauge("build_info", "Always 1.", "version", "python")
        info.labels(__version__, platform.python_version()).set(1)

    def leads(self, left: Callable[[], float]) -> None:
        """``left`` says how many seconds this process may still write."""
        self._leader.set_function(lambda: float(left() > 0))

    def replicas(self, namespace: str, name: str, *, current: Targets, desired: Targets) -> None:
        for role in Role:
            self._desired.labels(namespace, name, role).set(desired.of(role))
            self._current.labels(namespace, name, role).set(current.of(role))

    def forecast(self, namespace: str, name: str, rate: float | None) -> None:
        """Without a forecast there is no sample: a gauge of zero would be a claim."""
        if rate is not None:
            self._forecast.labels(namespace, name).set(rate)
        else:
            _drop(self._forecast, namespace, name)

    def forget(self, namespace: str, name: str) -> None:
        for role in Role:
            _drop(self._desired, namespace, name, role)
            _drop(self._current, namespace, name, role)
        _drop(self._forecast, namespace, name)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, namespace=NAMESPACE, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, namespace=NAMESPACE, registry=self.registry)


def _drop(gauge: Gauge, *labels: str) -> None:
    try:
        gauge.remove(*labels)
    except KeyError:
        pass  # never set: the object was invalid or paused from the start
