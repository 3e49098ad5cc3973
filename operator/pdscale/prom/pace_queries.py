"""PromQL for the paces of engines: what `pdscale.scaling.engine_paces` compares a profile with.

``inter_token_latency_seconds`` sums the gaps between tokens as they come, where
``request_time_per_output_token_seconds`` is told when a request ends, of all its life. Seconds of gaps per
second are the streams that an engine decodes, so its own sum says how many there were beside each other:
squares over sums, since a stream is more often on an engine that has many.

Of prefill legs vLLM tells the time from the first pass to the first token, without queue and KV transfer.
SGLang has no such series; there nothing is known of prefill. A pass in which no leg ends makes no output and
is not counted by ``iteration_tokens_total``.

Divided only where something was counted: x / 0 is infinite, and no figure.
"""

from typing import Final

_GAPS: Final = ("vllm:inter_token_latency_seconds", "sglang:inter_token_latency_seconds")
_LEGS: Final = "vllm:request_prefill_time_seconds"
_COMPUTED: Final = "vllm:prompt_tokens_by_source_total"
_PASSES: Final = "vllm:iteration_tokens_total_count"


def paces(*, decode: str, prefill: str, computed: str, window: str) -> dict[str, str]:
    """By field of ``scaling.history.History``. The first three are label matchers: of decode engines, of
    prefill engines, and of prompt tokens that these computed themselves."""

    def rate(series: str, where: str) -> str:
        return f"rate({series}{where}[{window}])"

    def per(total: str, count: str) -> str:
        return f"sum({total}) / (sum({count}) > 0)"

    legs = rate(f"{_LEGS}_count", prefill)
    gaps = [(rate(f"{gap}_sum", decode), rate(f"{gap}_count", decode)) for gap in _GAPS]
    return {
        "inter_token_latency": " or ".join(per(*pair) for pair in gaps),
        "decode_batch": " or ".join(per(f"{seconds} ^ 2", seconds) for seconds, _ in gaps),
        "prefill_leg_seconds": per(rate(f"{_LEGS}_sum", prefill), legs),
        "prefill_leg_tokens": per(rate(_COMPUTED, computed), legs),
        "prefill_legs_per_pass": per(legs, rate(_PASSES, prefill)),
    }
