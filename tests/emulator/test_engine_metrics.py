import re
from typing import Any

from fakes.emulated import Client
from pdscale.emulator.stats import Histogram, lengths

HELLO = [{"role": "user", "content": "hello there my friend"}]

NAMES = """
num_requests_running num_requests_waiting num_requests_waiting_by_reason
num_requests_kv_fetch_by_stage kv_cache_usage_perc cache_config_info engine_sleep_state
prompt_tokens_total prompt_tokens_by_source_total prompt_tokens_cached_total
prompt_tokens_cached_by_source_total generation_tokens_total request_success_total
num_preemptions_total admission_rejections_total prefix_cache_queries_total
prefix_cache_hits_total external_prefix_cache_queries_total external_prefix_cache_hits_total
time_to_first_token_seconds inter_token_latency_seconds request_time_per_output_token_seconds
e2e_request_latency_seconds request_queue_time_seconds request_prefill_time_seconds
request_decode_time_seconds request_inference_time_seconds iteration_tokens_total
request_prompt_tokens request_generation_tokens request_params_max_tokens
request_prefill_kv_computed_tokens request_num_preemptions nixl_xfer_time_seconds
nixl_post_time_seconds nixl_bytes_transferred nixl_num_descriptors
nixl_num_failed_transfers_total nixl_num_failed_notifications_total
nixl_num_kv_expired_reqs_total nixl_num_notifications_after_expiry_total
"""


async def test_every_series_has_the_name_and_labels_that_vllm_gives_it(start: Any, client: Client) -> None:
    server = await start()
    _, text = await client.get(server.port, "/metrics")
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all('engine="0"' in s and 'model_name="tiny"' in s for s in samples)
    found = {s.split("{")[0].removeprefix("vllm:") for s in samples}
    bases = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in found}
    histograms = {re.sub(r"_bucket$", "", name) for name in found if name.endswith("_bucket")}
    plain = bases - {n.removesuffix("_total") for n in bases if n.endswith("_total")}
    assert plain | histograms == set(NAMES.split())


async def test_two_engines_in_one_process_count_apart(start: Any, client: Client) -> None:
    busy, idle = await start(), await start()
    await client.chat(busy.port, messages=HELLO, max_tokens=3)
    figures = [await client.figures(server.port) for server in (busy, idle)]
    assert [f["vllm:generation_tokens_total"] for f in figures] == [3, 0]


async def test_a_request_is_counted_in_all_its_phases(start: Any, client: Client) -> None:
    server = await start()
    for _ in range(2):
        await client.chat(server.port, messages=HELLO, max_tokens=3)
    figures = await client.figures(server.port)
    assert figures["vllm:prompt_tokens_total"] == 14
    by_source = {k: v for k, v in figures.items() if k.startswith("vllm:prompt_tokens_by_source_total")}
    assert sum(by_source.values()) == 14
    assert figures["vllm:prefix_cache_queries_total"] == 14
    assert figures["vllm:prefix_cache_hits_total"] == 4
    assert figures['vllm:request_success_total{finished_reason="length",}'] == 2
    assert figures["vllm:inter_token_latency_seconds_count"] == 4
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
        assert figures[f"vllm:{name}_count"] == 2
    phases = [figures[f"vllm:request_{phase}_time_seconds_sum"] for phase in ("queue", "prefill", "decode")]
    whole = figures["vllm:e2e_request_latency_seconds_sum"]
    assert abs(sum(phases) - whole) < 1e-6
    assert figures["vllm:kv_cache_usage_perc"] == 0


def test_a_histogram_counts_a_figure_in_the_bucket_that_it_does_not_exceed() -> None:
    histogram = Histogram((1.0, 2.0))
    for figure in (1.0, 1.5, 9.0):
        histogram.observe(figure)
    histogram.observe(2.0, times=3)
    assert (histogram.counts, histogram.total, histogram.count) == ([1, 4, 1], 17.5, 6)


def test_length_buckets_end_at_the_longest_context() -> None:
    assert lengths(30) == (1, 2, 5, 10, 20)
