"""The engine's figures under the names that SGLang 0.5.23 exports."""

from typing import Final

from pdscale.emulator.engine import Engine
from pdscale.emulator.exposition import Counter, Gauge, HistogramOf, Series
from pdscale.emulator.sglang.rooms import Rooms


def _queue(engine: Engine) -> float:
    """What waits for none but this engine: legs that wait for their other one have queues of their own."""
    elsewhere = engine.wanting_kv + engine.loading + _bootstrapping(engine)
    return engine.waiting - elsewhere


def _bootstrapping(engine: Engine) -> float:
    return engine.transfers.hosting.bootstrapping if isinstance(engine.transfers, Rooms) else 0


def _hit_rate(engine: Engine) -> float:
    queries = engine.stats.prefix_queries
    return engine.stats.prefix_hits / queries if queries else 0.0


def _used(engine: Engine) -> float:
    return engine.cache.usage * engine.limits.kv_tokens


SERIES: Final[tuple[Series, ...]] = (
    Gauge("sglang:num_running_reqs", "Requests in the batch", lambda e: e.running),
    Gauge("sglang:num_queue_reqs", "Requests that could run and do not", _queue),
    Gauge("sglang:num_prefill_bootstrap_queue_reqs", "Prefill legs without a decode leg", _bootstrapping),
    Gauge("sglang:num_prefill_inflight_queue_reqs", "Prefill legs whose KV leaves", lambda e: e.unsent),
    Gauge("sglang:num_decode_prealloc_queue_reqs", "Decode legs without memory", lambda e: e.wanting_kv),
    Gauge("sglang:num_decode_transfer_queue_reqs", "Decode legs without KV", lambda e: e.loading),
    Gauge("sglang:token_usage", "Share of KV memory held", lambda e: e.cache.usage),
    Gauge("sglang:full_token_usage", "Share of KV memory held", lambda e: e.cache.usage),
    Gauge("sglang:num_used_tokens", "KV memory held, in tokens", _used),
    Gauge("sglang:kv_used_tokens", "KV memory held, in tokens", _used),
    Gauge("sglang:kv_available_tokens", "KV memory free", lambda e: e.limits.kv_tokens - _used(e)),
    Gauge("sglang:max_total_num_tokens", "KV memory, in tokens", lambda e: e.limits.kv_tokens),
    Gauge("sglang:page_size", "Tokens in a page", lambda e: e.limits.block_size),
    Gauge("sglang:num_pages", "Pages of KV memory", lambda e: e.limits.kv_blocks),
    Gauge("sglang:context_len", "Longest context", lambda e: e.limits.max_model_len),
    Gauge("sglang:cache_hit_rate", "Share of prompt tokens found in the cache", _hit_rate),
    Counter("sglang:prompt_tokens", "Prompt tokens", lambda e: e.stats.prompt_tokens.total()),
    Counter("sglang:generation_tokens", "Tokens generated", lambda e: e.stats.generation_tokens),
    Counter("sglang:cached_tokens", "Prompt tokens that were not computed", lambda e: e.stats.cached_tokens),
    Counter("sglang:num_requests", "Requests that ended", lambda e: sum(e.stats.finished.values())),
    Counter("sglang:num_aborted_requests", "Requests whose client left", lambda e: e.stats.finished["abort"]),
    Counter("sglang:num_retracted_requests", "Requests that lost their KV", lambda e: e.stats.preemptions),
    Counter("sglang:num_transfer_failed_reqs", "Legs that failed", lambda e: e.stats.failed_transfers),
    HistogramOf(
        "sglang:time_to_first_token_seconds", "Time to first token", lambda e: e.stats.time_to_first_token
    ),
    HistogramOf(
        "sglang:inter_token_latency_seconds", "Time between tokens", lambda e: e.stats.inter_token_latency
    ),
    HistogramOf(
        "sglang:request_time_per_output_token_seconds",
        "Mean time per output token of a request",
        lambda e: e.stats.time_per_output_token,
    ),
    HistogramOf(
        "sglang:e2e_request_latency_seconds", "Time from arrival to end", lambda e: e.stats.end_to_end
    ),
    HistogramOf("sglang:queue_time_seconds", "Time before the first iteration", lambda e: e.stats.queue_time),
    HistogramOf("sglang:prompt_tokens_histogram", "Prompt length", lambda e: e.stats.request_prompt_tokens),
    HistogramOf(
        "sglang:generation_tokens_histogram", "Answer length", lambda e: e.stats.request_generation_tokens
    ),
    HistogramOf(
        "sglang:uncached_prompt_tokens_histogram",
        "Prompt length less its prefix hits",
        lambda e: e.stats.request_computed_tokens,
    ),
)
