"""Made-up pasts of some hours: for each alert a day that it is made for, and the nearest one to be quiet on.

A past maps a series to its value by the seconds since its begin. All of them live beside each
other in one metrics server, told apart by the label ``namespace``.
"""

from collections.abc import Callable, Iterator
from typing import Final

PAST: Final = 7 * 3600
STEP: Final = 60

Past = dict[str, Callable[[float], float]]


def constant(value: float) -> Callable[[float], float]:
    return lambda _: value


def growing(per_second: float) -> Callable[[float], float]:
    return lambda since: per_second * since


def _of(series: str, **labels: str) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{series}{{{inside}}}"


def operator(series: str, value: float, **labels: str) -> Past:
    return {_of(f"pdscale_operator_{series}", name="chat", **labels): constant(value)}


def router(series: str, rate: float, *, role: str = "router", **labels: str) -> Past:
    return {_of(f"pdscale_router_{series}", pod=f"chat-{role}-6b7d-k9k9k", **labels): growing(rate)}


def missing(share: float, *, promised: float, rate: float = 1.0) -> Past:
    """Requests of which a share misses the SLO."""
    slo = {"place": "front", "slo": "both"}
    return {
        **router("slo_requests_total", rate * share, **slo, met="false"),
        **router("slo_requests_total", rate * (1 - share), **slo, met="true"),
        **operator("attainment_target", promised),
    }


def handed_over(failed: float) -> Past:
    placed = {"role": "decode", "place": "sidecar"}
    return {
        **router("placements_total", failed, **placed, placement="local", reason="PrefillFailed"),
        **router("placements_total", 1 - failed, **placed, placement="remote", reason="PrefillSlack"),
    }


def kv(role: str = "prefill", **lost: float) -> Past:
    names = ("failed_transfers", "failed_notifications", "kv_expired_reqs", "notifications_after_expiry")
    pod = {"pod": f"chat-{role}-7f9c-d0", "model_name": "m"}
    return {_of(f"vllm:nixl_num_{name}_total", **pod): growing(lost.get(name, 0.0)) for name in names}


def ticks(failing: float) -> Past:
    of = {"pod": "pdscale-1", "instance": "i"}
    return {
        _of("pdscale_operator_ticks_total", **of, result="ok"): growing(1 - failing),
        _of("pdscale_operator_ticks_total", **of, result="api_error"): growing(failing),
    }


def resized(every: float, *, back: float) -> Past:
    """A pool that only grows, but for as many flaps an hour as ``back`` says."""
    of = {"name": "chat", "role": "decode"}
    return {
        _of("pdscale_operator_current_replicas", **of): lambda since: since // every,
        _of("pdscale_operator_flaps_total", **of): growing(back / 3600),
    }


def writes(refused: float) -> Past:
    labels = {"role": "decode", "direction": "up", "result": "refused"}
    return {_of("pdscale_operator_scale_writes_total", **labels): growing(refused)}


def leaders(count: int) -> Past:
    return {_of("pdscale_operator_leader", instance=str(i), job="p"): constant(1) for i in range(count)}


def condition(kind: str, value: float) -> Past:
    return operator("condition", value, type=kind)


def silent(seconds: float) -> Past:
    return {_of("pdscale_router_discovery_age_seconds", pod="chat-router-1-2"): constant(seconds)}


# The bad day that an alert is made for, and the nearest day on which it must be quiet.
DAYS: Final[dict[str, tuple[Past, Past]]] = {
    "PDScaleTwoWriters": (leaders(2), leaders(1)),
    "PDScaleTicksFail": (ticks(0.3), ticks(0.1)),
    "PDScaleScaleWritesRefused": (writes(0.05), writes(0.0)),
    "PDScaleNotReady": (condition("Ready", 0), condition("Ready", 1)),
    "PDScaleMetricsMissing": (condition("MetricsAvailable", 0), condition("MetricsAvailable", 1)),
    "PDScaleSLOUnattainable": (condition("SLOAttainable", 0), condition("SLOAttainable", 1)),
    "PDScaleOverBudget": (
        operator("gpus_held", 9) | operator("gpu_budget", 8),
        operator("gpus_held", 8) | operator("gpu_budget", 8),
    ),
    "PDScalePodsNotReady": (
        operator("current_replicas", 3, role="decode") | operator("ready_replicas", 2, role="decode"),
        operator("current_replicas", 3, role="decode") | operator("ready_replicas", 3, role="decode"),
    ),
    "PDScaleDrainStuck": (
        operator("overdue_pods", 1),
        operator("overdue_pods", 0) | condition("Draining", 1),
    ),
    "PDScaleForecastMisses": (
        operator("forecast_coverage", 0.75) | operator("forecast_quantile", 0.9),
        operator("forecast_coverage", 0.85) | operator("forecast_quantile", 0.9),
    ),
    "PDScaleFlaps": (resized(every=600, back=8), resized(every=120, back=4)),
    # A promise of 95 % allows 5 %: 30 % are six times that; of one of 60 %, 90 % must fail.
    "PDScaleSLOBurnsFast": (missing(0.35, promised=0.95), missing(0.25, promised=0.95)),
    "PDScaleSLOBurnsSlowly": (missing(0.12, promised=0.95), missing(0.08, promised=0.95)),
    "PDScaleHandOversFail": (handed_over(0.1), handed_over(0.02)),
    "PDScaleRouterBlind": (silent(400), silent(60)),
    "PDScaleKVLost": (kv(kv_expired_reqs=0.01), kv()),
}
MORE_BAD: Final = {
    "weak-promise": ("PDScaleSLOBurnsFast", missing(0.95, promised=0.6)),
    "transfers-fail": ("PDScaleKVLost", kv("decode", failed_transfers=0.01)),
}
MORE_QUIET: Final = {
    "few-requests": ("PDScaleSLOBurnsFast", missing(0.5, promised=0.95, rate=0.01)),
    "sessions-that-ended": ("PDScaleKVLost", kv("decode", kv_expired_reqs=0.01)),
}


def told(namespace: str, past: Past, *, now: float) -> Iterator[str]:
    """The samples of one past, each with its time; the namespace tells days apart."""
    for series, value in past.items():
        name, _, labels = series.partition("{")
        for since in range(0, PAST + 1, STEP):
            at = int((now - PAST + since) * 1000)
            yield f'{name}{{namespace="{namespace}",{labels} {value(since)} {at}\n'


def pasts() -> dict[str, Past]:
    """All days by the namespace that stands for each."""
    found = {}
    for alert, (bad, quiet) in DAYS.items():
        found[f"bad-{alert.lower()}"] = bad
        found[f"quiet-{alert.lower()}"] = quiet
    return found | {name: past for name, (_, past) in {**MORE_BAD, **MORE_QUIET}.items()}
