"""The engine's counters under the names that vLLM 0.33 exports.

A collector in a registry of its own reads the plain numbers when somebody scrapes; between scrapes
there is nothing to keep up to date, and several engines may live in one process. Counters and
histograms carry their ``_created`` gauges, as the real ones do.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from pdscale.emulator.engine import Engine
from pdscale.emulator.stats import EngineStats, Histogram

Figures = Mapping[str, float]

_COUNTERS: Final[Mapping[str, tuple[str, Callable[[EngineStats], float]]]] = {
    "prompt_tokens": ("Prompt tokens, cached ones included", lambda s: s.prompt_tokens.total()),
    "prompt_tokens_cached": ("Prompt tokens that were not computed", lambda s: s.cached_tokens),
    "generation_tokens": ("Tokens generated", lambda s: s.generation_tokens),
    "num_preemptions": ("Requests that lost their KV", lambda s: s.preemptions),
    "prefix_cache_queries": ("Tokens looked up in the prefix cache", lambda s: s.prefix_queries),
    "prefix_cache_hits": ("Tokens found in the prefix cache", lambda s: s.prefix_hits),
    "external_prefix_cache_queries": (
        "Tokens looked up at other engines",
        lambda s: s.external_queries,
    ),
    "external_prefix_cache_hits": ("Tokens found at other engines", lambda s: s.external_hits),
    "nixl_num_failed_transfers": ("KV transfers that failed", lambda s: s.failed_transfers),
    "nixl_num_failed_notifications": (
        "Notices to other engines that failed",
        lambda s: s.failed_notifications,
    ),
    "nixl_num_kv_expired_reqs": (
        "Requests whose KV nobody fetched in time",
        lambda s: s.expired_leases,
    ),
    "nixl_num_notifications_after_expiry": (
        "Notices about KV that had expired",
        lambda s: s.late_notifications,
    ),
}

_LABELLED_COUNTERS: Final[
    Mapping[str, tuple[str, str, tuple[str, ...], Callable[[EngineStats], Figures]]]
] = {
    "prompt_tokens_by_source": (
        "Prompt tokens by where their KV came from",
        "source",
        ("local_compute", "local_cache_hit", "external_kv_transfer"),
        lambda s: s.prompt_tokens,
    ),
    "prompt_tokens_cached_by_source": (
        "Cached prompt tokens by tier",
        "source",
        ("device", "host", "p2p", "disk", "external_unspecified"),
        lambda s: {"device": s.prefix_hits, "external_unspecified": s.external_hits},
    ),
    "request_success": (
        "Requests that ended",
        "finished_reason",
        ("stop", "length", "abort", "error", "repetition"),
        lambda s: s.finished,
    ),
    "admission_rejections": (
        "Requests refused for a long queue",
        "reason",
        ("max_num_queued_reqs", "max_num_queued_tokens"),
        lambda s: {},
    ),
}

_HISTOGRAMS: Final[Mapping[str, tuple[str, Callable[[EngineStats], Histogram]]]] = {
    "time_to_first_token_seconds": ("Time to first token", lambda s: s.time_to_first_token),
    "inter_token_latency_seconds": ("Time between tokens", lambda s: s.inter_token_latency),
    "request_time_per_output_token_seconds": (
        "Mean time per output token of a request",
        lambda s: s.time_per_output_token,
    ),
    "e2e_request_latency_seconds": ("Time from arrival to end", lambda s: s.end_to_end),
    "request_queue_time_seconds": ("Time before the first iteration", lambda s: s.queue_time),
    "request_prefill_time_seconds": ("Time of the prefill", lambda s: s.prefill_time),
    "request_decode_time_seconds": ("Time after the first token", lambda s: s.decode_time),
    "request_inference_time_seconds": ("Time of prefill and decode", lambda s: s.inference_time),
    "iteration_tokens_total": ("Tokens computed per iteration", lambda s: s.iteration_tokens),
    "request_prompt_tokens": ("Prompt length", lambda s: s.request_prompt_tokens),
    "request_generation_tokens": ("Answer length", lambda s: s.request_generation_tokens),
    "request_params_max_tokens": ("max_tokens asked for", lambda s: s.request_max_tokens),
    "request_prefill_kv_computed_tokens": (
        "Prompt length less the prefix hits reported to the client",
        lambda s: s.request_computed_tokens,
    ),
    "request_num_preemptions": ("Preemptions of a request", lambda s: s.request_preemptions),
    "nixl_xfer_time_seconds": ("Time of a KV transfer", lambda s: s.transfer_time),
    "nixl_post_time_seconds": ("Time to post a KV transfer", lambda s: s.posting_time),
    "nixl_bytes_transferred": ("Size of a KV transfer", lambda s: s.transfer_bytes),
    "nixl_num_descriptors": ("Blocks of a KV transfer", lambda s: s.transfer_descriptors),
}


class VllmCollector(Collector):
    """Labels every series with ``model_name`` and ``engine``. ``started`` is a Unix time."""

    def __init__(self, engine: Engine, *, model: str, started: float) -> None:
        self._engine = engine
        self._labels = {"model_name": model, "engine": "0"}
        self._started = started

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges()
        yield from self._counters()
        for name, (text, read) in _HISTOGRAMS.items():
            yield self._histogram(name, text, read(self._engine.stats))

    def _gauges(self) -> Iterator[Metric]:
        engine, limits = self._engine, self._engine.limits
        deferred = engine.loading + engine.wanting_kv + engine.loaded
        yield self._gauge("num_requests_running", "Requests in the batch", engine.running)
        yield self._gauge("num_requests_waiting", "Requests not in the batch", engine.waiting)
        yield self._gauge("kv_cache_usage_perc", "Share of KV memory held", engine.cache.usage)
        yield self._gauge_by(
            "num_requests_waiting_by_reason",
            "Requests not in the batch, by what they lack",
            "reason",
            {"capacity": engine.waiting - deferred, "deferred": deferred},
        )
        yield self._gauge_by(
            "num_requests_kv_fetch_by_stage",
            "Requests that load KV of another engine",
            "stage",
            {
                "waiting_to_start": engine.wanting_kv,
                "in_progress": engine.loading,
                "completed_waiting": engine.loaded,
            },
        )
        yield self._gauge_by(
            "engine_sleep_state",
            "State of sleep",
            "sleep_state",
            {"awake": 1, "weights_offloaded": 0, "discard_all": 0},
        )
        size = limits.kv_tokens * engine.profile.kv_bytes_per_token
        labels = {
            "engine": "0",
            "model_name": self._labels["model_name"],
            "block_size": str(limits.block_size),
            "num_gpu_blocks": str(limits.kv_blocks),
            "kv_cache_size_tokens": str(limits.kv_tokens),
            "kv_cache_memory_bytes": str(int(size)),
            "enable_prefix_caching": "True",
        }
        config = GaugeMetricFamily("vllm:cache_config_info", "Size of the KV cache", labels=list(labels))
        config.add_metric(list(labels.values()), 1)
        yield config

    def _counters(self) -> Iterator[Metric]:
        stats = self._engine.stats
        for name, (text, read) in _COUNTERS.items():
            family = CounterMetricFamily(f"vllm:{name}", text, labels=list(self._labels))
            family.add_metric(list(self._labels.values()), read(stats), created=self._started)
            yield family
        for name, (text, label, kinds, figures) in _LABELLED_COUNTERS.items():
            family = CounterMetricFamily(f"vllm:{name}", text, labels=[*self._labels, label])
            for kind in kinds:
                figure = figures(stats).get(kind, 0)
                family.add_metric([*self._labels.values(), kind], figure, created=self._started)
            yield family

    def _gauge(self, name: str, text: str, figure: float) -> Metric:
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), figure)
        return family

    def _gauge_by(self, name: str, text: str, label: str, figures: Figures) -> Metric:
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=[*self._labels, label])
        for kind, figure in figures.items():
            family.add_metric([*self._labels.values(), kind], figure)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        bounds: Iterable[float] = (*histogram.bounds, math.inf)
        buckets = [
            ("+Inf" if math.isinf(bound) else str(bound), float(count))
            for bound, count in zip(bounds, accumulate(histogram.counts), strict=True)
        ]
        family = HistogramMetricFamily(f"vllm:{name}", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), buckets, histogram.total)
        family.add_sample(f"vllm:{name}_created", self._labels, self._started)
        return family


def registry_of(engine: Engine, *, model: str, started: float) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(VllmCollector(engine, model=model, started=started))
    return registry
