"""The engine's figures under the names that vLLM 0.33 exports."""

from collections.abc import Mapping
from typing import Final

from pdscale.emulator.engine import Engine
from pdscale.emulator.exposition import Counter, CounterBy, Figures, Gauge, GaugeBy, HistogramOf, Info, Series


def _waiting_by_reason(engine: Engine) -> Figures:
    deferred = engine.loading + engine.wanting_kv + engine.loaded
    return {"capacity": engine.waiting - deferred, "deferred": deferred}


def _kv_fetches(engine: Engine) -> Figures:
    return {
        "waiting_to_start": engine.wanting_kv,
        "in_progress": engine.loading,
        "completed_waiting": engine.loaded,
    }


def _cache_config(engine: Engine) -> Mapping[str, str]:
    limits = engine.limits
    return {
        "block_size": str(limits.block_size),
        "num_gpu_blocks": str(limits.kv_blocks),
        "kv_cache_size_tokens": str(limits.kv_tokens),
        "kv_cache_memory_bytes": str(int(limits.kv_tokens * engine.profile.kv_bytes_per_token)),
        "enable_prefix_caching": "True",
    }


SERIES: Final[tuple[Series, ...]] = (
    Gauge("vllm:num_requests_running", "Requests in the batch", lambda e: e.running),
    Gauge("vllm:num_requests_waiting", "Requests not in the batch", lambda e: e.waiting),
    Gauge("vllm:kv_cache_usage_perc", "Share of KV memory held", lambda e: e.cache.usage),
    GaugeBy(
        "vllm:num_requests_waiting_by_reason",
        "Requests not in the batch, by what they lack",
        "reason",
        _waiting_by_reason,
    ),
    GaugeBy(
        "vllm:num_requests_kv_fetch_by_stage", "Requests that load KV of another engine", "stage", _kv_fetches
    ),
    GaugeBy(
        "vllm:engine_sleep_state",
        "State of sleep",
        "sleep_state",
        lambda e: {"awake": 1, "weights_offloaded": 0, "discard_all": 0},
    ),
    Info("vllm:cache_config_info", "Size of the KV cache", _cache_config),
    Counter(
        "vllm:prompt_tokens", "Prompt tokens, cached ones included", lambda e: e.stats.prompt_tokens.total()
    ),
    Counter(
        "vllm:prompt_tokens_cached", "Prompt tokens that were not computed", lambda e: e.stats.cached_tokens
    ),
    Counter("vllm:generation_tokens", "Tokens generated", lambda e: e.stats.generation_tokens),
    Counter("vllm:num_preemptions", "Requests that lost their KV", lambda e: e.stats.preemptions),
    Counter(
        "vllm:prefix_cache_queries", "Tokens looked up in the prefix cache", lambda e: e.stats.prefix_queries
    ),
    Counter("vllm:prefix_cache_hits", "Tokens found in the prefix cache", lambda e: e.stats.prefix_hits),
    Counter(
        "vllm:external_prefix_cache_queries",
        "Tokens looked up at other engines",
        lambda e: e.stats.external_queries,
    ),
    Counter(
        "vllm:external_prefix_cache_hits", "Tokens found at other engines", lambda e: e.stats.external_hits
    ),
    Counter("vllm:nixl_num_failed_transfers", "KV transfers that failed", lambda e: e.stats.failed_transfers),
    Counter(
        "vllm:nixl_num_failed_notifications",
        "Notices to other engines that failed",
        lambda e: e.stats.failed_notifications,
    ),
    Counter(
        "vllm:nixl_num_kv_expired_reqs",
        "Requests whose KV nobody fetched in time",
        lambda e: e.stats.expired_leases,
    ),
    Counter(
        "vllm:nixl_num_notifications_after_expiry",
        "Notices about KV that had expired",
        lambda e: e.stats.late_notifications,
    ),
    CounterBy(
        "vllm:prompt_tokens_by_source",
        "Prompt tokens by where their KV came from",
        "source",
        ("local_compute", "local_cache_hit", "external_kv_transfer"),
        lambda e: e.stats.prompt_tokens,
    ),
    CounterBy(
        "vllm:prompt_tokens_cached_by_source",
        "Cached prompt tokens by tier",
        "source",
        ("device", "host", "p2p", "disk", "external_unspecified"),
        lambda e: {"device": e.stats.prefix_hits, "external_unspecified": e.stats.external_hits},
    ),
    CounterBy(
        "vllm:request_success",
        "Requests that ended",
        "finished_reason",
        ("stop", "length", "abort", "error", "repetition"),
        lambda e: e.stats.finished,
    ),
    CounterBy(
        "vllm:admission_rejections",
        "Requests refused for a long queue",
        "reason",
        ("max_num_queued_reqs", "max_num_queued_tokens"),
        lambda e: {},
    ),
    HistogramOf(
        "vllm:time_to_first_token_seconds", "Time to first token", lambda e: e.stats.time_to_first_token
    ),
    HistogramOf(
        "vllm:inter_token_latency_seconds", "Time between tokens", lambda e: e.stats.inter_token_latency
    ),
    HistogramOf(
        "vllm:request_time_per_output_token_seconds",
        "Mean time per output token of a request",
        lambda e: e.stats.time_per_output_token,
    ),
    HistogramOf("vllm:e2e_request_latency_seconds", "Time from arrival to end", lambda e: e.stats.end_to_end),
    HistogramOf(
        "vllm:request_queue_time_seconds", "Time before the first iteration", lambda e: e.stats.queue_time
    ),
    HistogramOf("vllm:request_prefill_time_seconds", "Time of the prefill", lambda e: e.stats.prefill_time),
    HistogramOf(
        "vllm:request_decode_time_seconds", "Time after the first token", lambda e: e.stats.decode_time
    ),
    HistogramOf(
        "vllm:request_inference_time_seconds", "Time of prefill and decode", lambda e: e.stats.inference_time
    ),
    HistogramOf(
        "vllm:iteration_tokens_total", "Tokens computed per iteration", lambda e: e.stats.iteration_tokens
    ),
    HistogramOf("vllm:request_prompt_tokens", "Prompt length", lambda e: e.stats.request_prompt_tokens),
    HistogramOf(
        "vllm:request_generation_tokens", "Answer length", lambda e: e.stats.request_generation_tokens
    ),
    HistogramOf(
        "vllm:request_params_max_tokens", "max_tokens asked for", lambda e: e.stats.request_max_tokens
    ),
    HistogramOf(
        "vllm:request_prefill_kv_computed_tokens",
        "Prompt length less the prefix hits reported to the client",
        lambda e: e.stats.request_computed_tokens,
    ),
    HistogramOf(
        "vllm:request_num_preemptions", "Preemptions of a request", lambda e: e.stats.request_preemptions
    ),
    HistogramOf("vllm:nixl_xfer_time_seconds", "Time of a KV transfer", lambda e: e.stats.transfer_time),
    HistogramOf("vllm:nixl_post_time_seconds", "Time to post a KV transfer", lambda e: e.stats.posting_time),
    HistogramOf("vllm:nixl_bytes_transferred", "Size of a KV transfer", lambda e: e.stats.transfer_bytes),
    HistogramOf(
        "vllm:nixl_num_descriptors", "Blocks of a KV transfer", lambda e: e.stats.transfer_descriptors
    ),
)
