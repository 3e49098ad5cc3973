"""The three dashboards: the fleet for who pays, the router for who serves, the engines for who debugs.

Clients' times are the front router's: an engine's own leave out the other leg, and sidecars count the same
requests again. Computed tokens are those of source ``local_compute``: ``vllm:prompt_tokens_total`` counts a
remote round twice, and ``vllm:request_prefill_kv_computed_tokens`` counts what was not computed.
"""

from typing import Final

from install.panels import Dashboard, Panel
from install.queries import (
    DECODE,
    FRONT,
    PODS,
    PREFILL,
    attained,
    by_role,
    conditions,
    counted,
    either,
    figure,
    quantile,
    quantiles,
    rate,
    rate_by_role,
)


def _replicas(role: str) -> Panel:
    series = {"wanted": "desired_replicas", "asked for": "current_replicas", "ready": "ready_replicas"}
    queries = {legend: figure(name, role=role) for legend, name in series.items()}
    return Panel(f"Replicas: {role}", queries, text="Wanted by the plan, asked for by the scale, ready.")


def _ratio(series: str) -> str:
    return f"{figure(series, role='prefill')} / {figure(series, role='decode')}"


FLEET: Final = Dashboard(
    "fleet",
    "Fleet",
    (
        _replicas("prefill"),
        _replicas("decode"),
        Panel("P/D ratio", {"wanted": _ratio("desired_replicas"), "ready": _ratio("ready_replicas")}),
        Panel(
            "GPUs",
            {"held": figure("gpus_held"), "budget": figure("gpu_budget")},
            text="Starting and terminating pods hold theirs.",
        ),
        Panel(
            "Request rate and forecast",
            {
                "observed": rate("pdscale_router_requests_received_total", FRONT),
                "forecast": figure("forecast_request_rate"),
            },
            "reqps",
            "The quantile at the lead time, drawn when it was made: it should run ahead of the load.",
        ),
        Panel(
            "Forecasts that held",
            {"coverage": figure("forecast_coverage"), "asked for": figure("forecast_quantile")},
            "percentunit",
        ),
        Panel(
            "SLO attainment",
            {"attained": attained("both"), "promised": figure("attainment_target")},
            "percentunit",
        ),
        Panel("Conditions", conditions(), kind="state-timeline"),
        Panel(
            "Steps of plans, by reason",
            {"{{reason}}": "sum by (reason) (rate(pdscale_operator_decisions_total[$__rate_interval]))"},
            "ops",
            "Of all objects together. One object's are in its status and in `kubectl pdscale explain`.",
        ),
        Panel(
            "Writes to a scale",
            {
                "{{role}} {{direction}} {{result}}": "sum by (role, direction, result) "
                "(increase(pdscale_operator_scale_writes_total[$__rate_interval]))"
            },
            text="Of all objects together. `refused`: somebody else owns the replicas.",
        ),
        Panel(
            "Time of a tick, P99",
            {
                "P99": "histogram_quantile(0.99, sum by (le) "
                "(rate(pdscale_operator_tick_duration_seconds_bucket[$__rate_interval])))"
            },
            "s",
            "The API server's and Prometheus' answers included.",
        ),
        Panel("Operators that lead", {"{{pod}}": "max by (pod) (pdscale_operator_leader)"}),
    ),
)

ROUTER: Final = Dashboard(
    "router",
    "Router",
    (
        Panel(
            "SLO attainment",
            {"TTFT": attained("ttft"), "TPOT": attained("tpot"), "both": attained("both")},
            "percentunit",
            "As clients see it. Failed requests missed both.",
        ),
        Panel("Time to first token", quantiles("pdscale_router_time_to_first_token_seconds", FRONT), "s"),
        Panel("Time per output token", quantiles("pdscale_router_time_per_output_token_seconds", FRONT), "s"),
        Panel(
            "Requests, by status",
            {"{{code}}": rate("pdscale_router_requests_total", FRONT, "code")},
            "reqps",
            "499: the client left.",
        ),
        Panel(
            "Open requests and sessions",
            {
                "requests": f"sum(pdscale_router_inflight_requests{{{FRONT}}})",
                "sessions": f"sum(pdscale_router_sessions{{{FRONT}}})",
            },
        ),
        Panel(
            "Rounds, by where they are prefilled",
            {"{{placement}}": rate("pdscale_router_placements_total", DECODE, "placement")},
            "reqps",
        ),
        Panel(
            "Rounds, by reason",
            {
                "{{placement}} {{reason}}": rate(
                    "pdscale_router_placements_total", DECODE, "placement", "reason"
                )
            },
            "reqps",
        ),
        Panel(
            "Hand-overs that failed",
            {
                reason: counted("pdscale_router_placements_total", DECODE, f'reason="{reason}"')
                for reason in ("PrefillFailed", "TransferFailed")
            },
            "reqps",
            "Rounds whose prefill leg or KV was lost; the decode replica prefilled them.",
        ),
        Panel(
            "Streams that stall",
            {
                "slower than promised": counted(
                    "pdscale_router_slo_requests_total", f'{FRONT},slo="tpot"', 'met="false"'
                )
            },
            "reqps",
            "Answers whose mean time per token was above the SLO, and those that failed.",
        ),
        Panel(
            "Prompt tokens",
            {
                "all": rate("pdscale_router_prompt_tokens_total", FRONT),
                "in no prefix cache": rate("pdscale_router_uncached_prompt_tokens_total", FRONT),
            },
            text="Per second.",
        ),
        Panel(
            "Estimated uncached tokens over measured ones",
            {
                "ratio": rate("pdscale_router_estimated_uncached_tokens_total", f'{PODS},place="sidecar"')
                + " / "
                + rate("pdscale_router_measured_uncached_tokens_total", f'{PODS},place="sidecar"')
            },
            text="1 is right; placement goes by the estimate.",
        ),
        Panel(
            "Silence of the API server",
            {
                "longest": 'max(pdscale_router_discovery_age_seconds{namespace="$namespace",'
                'pod=~"$name-(router|prefill|decode)-[a-z0-9]+-[a-z0-9]+"})'
            },
            "s",
        ),
    ),
)

ENGINES: Final = Dashboard(
    "engines",
    "Engines",
    (
        Panel(
            "Requests in the batch",
            {"{{role}}": either(by_role("vllm:num_requests_running"), by_role("sglang:num_running_reqs"))},
        ),
        Panel(
            "Requests that wait",
            {"{{role}}": either(by_role("vllm:num_requests_waiting"), by_role("sglang:num_queue_reqs"))},
        ),
        Panel(
            "KV memory in use, fullest replica",
            {
                "prefill": either(
                    f"max(vllm:kv_cache_usage_perc{{{PREFILL}}})", f"max(sglang:token_usage{{{PREFILL}}})"
                ),
                "decode": either(
                    f"max(vllm:kv_cache_usage_perc{{{DECODE}}})", f"max(sglang:token_usage{{{DECODE}}})"
                ),
            },
            "percentunit",
            "What is held; what a prefix cache keeps can be had back at any time.",
        ),
        Panel(
            "Prompt tokens computed",
            {
                "{{role}}": either(
                    rate_by_role("vllm:prompt_tokens_by_source_total", f'{PODS},source="local_compute"'),
                    f"{rate_by_role('sglang:prompt_tokens_total', PREFILL)} - "
                    f"{rate_by_role('sglang:cached_tokens_total', PREFILL)}",
                )
            },
            text="Per second: the work of prefill. SGLang's decode engines compute none.",
        ),
        Panel(
            "Share of prefill done by decode engines",
            {
                "local": rate("vllm:prompt_tokens_by_source_total", f'{DECODE},source="local_compute"')
                + " / "
                + rate("vllm:prompt_tokens_by_source_total", f'{PODS},source="local_compute"')
            },
            "percentunit",
            "vLLM only.",
        ),
        Panel(
            "Prompt tokens of decode engines, by source",
            {"{{source}}": rate("vllm:prompt_tokens_by_source_total", DECODE, "source")},
            text="Per second; vLLM only. The three sources add up to the prompts.",
        ),
        Panel(
            "Tokens generated",
            {
                "decode": either(
                    rate("vllm:generation_tokens_total", DECODE),
                    rate("sglang:generation_tokens_total", DECODE),
                )
            },
            text="Per second. A prefill leg's one token is not counted.",
        ),
        Panel(
            "Time between tokens, P95",
            {
                "decode": either(
                    quantile(0.95, "vllm:inter_token_latency_seconds", DECODE),
                    quantile(0.95, "sglang:inter_token_latency_seconds", DECODE),
                )
            },
            "s",
        ),
        Panel(
            "Time in the engine's queue, P95",
            {
                legend: either(
                    quantile(0.95, "vllm:request_queue_time_seconds", where),
                    quantile(0.95, "sglang:queue_time_seconds", where),
                )
                for legend, where in {"prefill": PREFILL, "decode": DECODE}.items()
            },
            "s",
        ),
        Panel(
            "Time of a KV transfer",
            quantiles("vllm:nixl_xfer_time_seconds", PODS),
            "s",
            "vLLM only; counted by the engine that reads.",
        ),
        Panel(
            "Bytes of KV moved",
            {"per second": rate("vllm:nixl_bytes_transferred_sum", PODS)},
            "Bps",
            "vLLM only.",
        ),
        Panel(
            "KV lost",
            {
                legend: f"sum(increase({series}{{{where}}}[$__rate_interval]))"
                for legend, series, where in (
                    ("failed transfers", "vllm:nixl_num_failed_transfers_total", PODS),
                    ("failed notifications", "vllm:nixl_num_failed_notifications_total", PODS),
                    ("nobody fetched it", "vllm:nixl_num_kv_expired_reqs_total", PREFILL),
                    ("kept for a round that did not come", "vllm:nixl_num_kv_expired_reqs_total", DECODE),
                    ("fetched too late", "vllm:nixl_num_notifications_after_expiry_total", PODS),
                    ("failed legs (SGLang)", "sglang:num_transfer_failed_reqs_total", PODS),
                    ("preempted", "vllm:num_preemptions_total", PODS),
                    ("retracted (SGLang)", "sglang:num_retracted_requests_total", PODS),
                )
            },
            text="All must stay 0 but preemptions, and what decode engines keep for a session that ends.",
        ),
    ),
)

DASHBOARDS: Final = (FLEET, ROUTER, ENGINES)
