"""A ServingDeployment to try things on, and a metrics server that says what a test wants."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pdscale.model.units import Seconds
from pdscale.prom.errors import MetricsUnavailable
from pdscale.scaling.history import History
from pdscale_forecaster.series import Series

Object = dict[str, Any]

_BODY: Object = {
    "apiVersion": "pdscale.io/v1alpha1",
    "kind": "ServingDeployment",
    "metadata": {"name": "chat", "namespace": "default"},
    "spec": {
        "model": "m",
        "engine": {"type": "Emulated"},
        "slo": {"ttft": "2s", "tpot": "75ms"},
        "prefill": {"minReplicas": 1, "maxReplicas": 8, "startupTime": "10s"},
        "decode": {"minReplicas": 1, "maxReplicas": 8, "startupTime": "10s"},
        "gpuBudget": 10,
        "profile": {"name": "llama-3.1-8b-h100"},
        "prometheus": {"url": "http://prometheus:9090"},
        "scaling": {"interval": "15s", "scaleDownWindow": "0s"},
    },
}


def serving(**spec: Any) -> Object:
    """The body, with some of the spec's fields replaced; a mapping is merged one level deep."""
    body = copy.deepcopy(_BODY)
    for name, value in spec.items():
        old = body["spec"].get(name)
        body["spec"][name] = {**old, **value} if isinstance(old, dict) else value
    return body


def traffic(rate: float, *, now: Seconds, prompt: float = 3000.0, output: float = 300.0) -> History:
    """Half an hour of steady requests up to ``now``; NaN as a rate means that nothing is known."""
    step, count = 15.0, 120
    start = now - step * (count - 1)

    def steady(value: float) -> Series:
        return Series(start, step, (value,) * count)

    return History(
        request_rate=steady(rate),
        completed=steady(rate),
        prompt_tokens=steady(rate * prompt),
        uncached_tokens=steady(rate * prompt),
        uncached_tokens_squared=steady(rate * prompt**2),
        output_tokens=steady(rate * output),
        output_tokens_squared=steady(rate * output**2),
        local_share=steady(math.nan),
        decode_streams=steady(math.nan),
    )


@dataclass(slots=True)
class SteadyMetrics:
    """A metrics server whose traffic is ``rate``, or that is down."""

    rate: float = math.nan
    down: str = ""
    asked: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    pause: float | None = None
    queries: list[str] = field(default_factory=list)

    async def history(
        self,
        *,
        namespace: str,
        name: str,
        window: Seconds,
        step: Seconds,
        now: Seconds,
        overrides: Mapping[str, str],
    ) -> History:
        self.asked.append(f"{namespace}/{name}")
        if self.down:
            raise MetricsUnavailable(self.down, retry_helps=True)
        return traffic(self.rate, now=now)

    async def instants(self, query: str, *, label: str) -> dict[str, float]:
        """The figures of pods whose pool a query names, by keys like ``open/POD``, or sessions' pauses."""
        self.queries.append(query)
        if self.down:
            raise MetricsUnavailable(self.down, retry_helps=True)
        if "session_gap" in query:
            return {} if self.pause is None else {"pause": self.pause, "count": 500.0}
        return {key: value for key, value in self.figures.items() if _pool(key) in query}


def _pool(key: str) -> str:
    """``open/chat-decode-1`` -> ``chat-decode``."""
    return key.partition("/")[2].rpartition("-")[0]
