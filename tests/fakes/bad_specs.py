"""One table of objects that nobody may accept: neither the API server nor the models.

Each case is a JSON merge patch of ``GOOD`` and the words that both sides' messages must contain. The API
server's wording for its own keywords is not ours, so a case may ask for other words there.
"""

import copy
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

GOOD: Final[Json] = {
    "apiVersion": "pdscale.io/v1alpha1",
    "kind": "ServingDeployment",
    "metadata": {"name": "chat"},
    "spec": {
        "model": "meta-llama/Llama-2-70b-chat-hf",
        "engine": {"type": "Emulated"},
        "slo": {"ttft": "2s", "tpot": "75ms"},
        "prefill": {"minReplicas": 1, "maxReplicas": 4, "gpusPerReplica": 8},
        "decode": {"minReplicas": 1, "maxReplicas": 4, "gpusPerReplica": 8},
        "gpuBudget": 64,
        "profile": {"name": "llama-2-70b-a100-tp8-2023"},
        "prometheus": {"url": "http://prometheus:9090"},
    },
}


@dataclass(frozen=True, slots=True)
class Bad:
    """A patch that spoils ``GOOD``; ``model`` and ``server`` are what the messages must contain."""

    id: str
    patch: Json
    model: tuple[str, ...]
    server: tuple[str, ...]

    @property
    def body(self) -> Json:
        found: Json = merged(GOOD, self.patch)
        return found


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396): null removes."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    out = dict(copy.deepcopy(target)) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


def _rule(case: str, spec: Json, *words: str) -> Bad:
    """Both sides say the same words, because the message is ours on both."""
    return Bad(case, {"spec": spec}, words, words)


def _scale_down(policy: Json) -> Json:
    return {"scaling": {"behavior": {"scaleDown": {"policies": [policy]}}}}


def _keyword(case: str, spec: Json, model: tuple[str, ...], server: tuple[str, ...]) -> Bad:
    return Bad(case, {"spec": spec}, model, server)


def _schedule(**changes: Any) -> Json:
    return {"scaling": {"schedules": [{"start": "08:00", "end": "18:00"} | changes]}}


_KEY: Final = {"name": "metrics", "key": "value"}
_TARGET: Final = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "engines"}

BAD: Final = (
    Bad(
        "name_too_long_for_its_pods",
        {"metadata": {"name": "a" * 39}},
        ("metadata.name must have at most 38 characters", "got 39"),
        ("metadata.name must have at most 38 characters", "got 39"),
    ),
    Bad(
        "name_that_no_service_can_have",
        {"metadata": {"name": "7b-chat"}},
        ("metadata.name must be lower case letters", "got 7b-chat"),
        ("metadata.name must be lower case letters", "got 7b-chat"),
    ),
    _keyword(
        "model_missing",
        {"model": None},
        ("spec.model is required",),
        ("spec.model: Required value",),
    ),
    _keyword(
        "model_empty",
        {"model": ""},
        ("spec.model", "at least 1 character"),
        ("spec.model", "at least 1 chars long"),
    ),
    _keyword(
        "model_of_the_wrong_type",
        {"model": 70},
        ("spec.model", "string", "got 70"),
        ("spec.model", "string", "integer"),
    ),
    _keyword(
        "engine_nobody_knows",
        {"engine": {"type": "TGI"}},
        ("spec.engine.type must be one of 'vLLM', 'SGLang' or 'Emulated'", "got 'TGI'"),
        ("spec.engine.type", '"TGI"', '"vLLM", "SGLang", "Emulated"'),
    ),
    _rule(
        "vllm_without_an_image",
        {"engine": {"type": "vLLM"}},
        "engine.image is required for engine.type vLLM, got none",
    ),
    _rule(
        "sglang_without_an_image",
        {"engine": {"type": "SGLang"}},
        "engine.image is required for engine.type SGLang, got none",
    ),
    _rule(
        "engine_on_the_routers_port",
        {"engine": {"port": 8080}},
        "spec.engine",
        "port must not be 8080 or 9090",
        "got 8080",
    ),
    _keyword(
        "port_of_the_superuser",
        {"engine": {"port": 80}},
        ("spec.engine.port must be at least 1024, got 80",),
        ("spec.engine.port", "80", "greater than or equal to 1024"),
    ),
    _keyword(
        "env_named_twice",
        {"engine": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}},
        ("spec.engine", "env must name each variable once, got A twice"),
        ("spec.engine.env[1]", "Duplicate value", '"A"'),
    ),
    _rule("ttft_of_nothing", {"slo": {"ttft": "0s"}}, "slo.ttft", "at least 1ms, got 0s"),
    _rule("tpot_of_two_minutes", {"slo": {"tpot": "2m"}}, "slo.tpot", "at most 1m, got 2m"),
    _keyword(
        "duration_without_a_unit",
        {"slo": {"ttft": "2"}},
        ("spec.slo.ttft must match", "got '2'"),
        ("spec.slo.ttft", '"2"', "should match"),
    ),
    _keyword(
        "attainment_of_everything",
        {"slo": {"attainment": 1}},
        ("spec.slo.attainment must be below 1", "got 1"),
        ("spec.slo.attainment", "1", "less than 1"),
    ),
    _keyword(
        "attainment_of_nothing",
        {"slo": {"attainment": 0}},
        ("spec.slo.attainment must be above 0", "got 0"),
        ("spec.slo.attainment", "0", "greater than 0"),
    ),
    _rule(
        "prefill_bounds_crossed",
        {"prefill": {"minReplicas": 5}},
        "spec.prefill",
        "minReplicas must be at most maxReplicas (4), got 5",
    ),
    _rule(
        "decode_bounds_crossed",
        {"decode": {"minReplicas": 6}},
        "spec.decode",
        "minReplicas must be at most maxReplicas (4), got 6",
    ),
    _keyword(
        "fewer_than_no_replicas",
        {"prefill": {"minReplicas": -1}},
        ("spec.prefill.minReplicas must be at least 0, got -1",),
        ("spec.prefill.minReplicas", "-1", "greater than or equal to 0"),
    ),
    _rule(
        "no_decode_replica",
        {"decode": {"minReplicas": 0}},
        "decode.minReplicas must be at least 1, got 0",
    ),
    _keyword(
        "most_replicas_missing",
        {"prefill": {"maxReplicas": None}},
        ("spec.prefill.maxReplicas is required",),
        ("spec.prefill.maxReplicas: Required value",),
    ),
    _keyword(
        "replica_without_a_gpu",
        {"decode": {"gpusPerReplica": 0}},
        ("spec.decode.gpusPerReplica must be at least 1, got 0",),
        ("spec.decode.gpusPerReplica", "0", "greater than or equal to 1"),
    ),
    _rule(
        "start_up_of_a_day",
        {"decode": {"startupTime": "24h"}},
        "spec.decode.startupTime",
        "at most 2h, got 24h",
    ),
    _rule(
        "budget_below_the_minima",
        {"prefill": {"minReplicas": 2}, "gpuBudget": 16},
        "gpuBudget must be at least 24",
        "prefill.minReplicas (2)",
        "decode.minReplicas (1)",
        "got 16",
    ),
    _rule(
        "more_reserved_than_the_budget",
        {"reservedGpus": 65},
        "reservedGpus must be at most gpuBudget (64), got 65",
    ),
    _keyword(
        "hours_that_no_clock_shows",
        _schedule(end="24:00"),
        ("spec.scaling.schedules[0].end must match", "got '24:00'"),
        ("spec.scaling.schedules[0].end", '"24:00"', "should match"),
    ),
    _keyword(
        "day_nobody_knows",
        _schedule(days=["Monday"]),
        ("spec.scaling.schedules[0].days[0] must be one of 'Mon'", "got 'Monday'"),
        ("spec.scaling.schedules[0].days[0]", '"Monday"', '"Mon"'),
    ),
    _rule(
        "schedule_beyond_the_maximum",
        _schedule(decodeMinReplicas=5),
        "scaling.schedules must ask for at most prefill.maxReplicas (4)",
        "decode.maxReplicas (4), got 0 and 5",
    ),
    _rule(
        "schedule_beyond_the_budget",
        _schedule(prefillMinReplicas=4) | {"gpuBudget": 39},
        "scaling.schedules must fit in gpuBudget (39), got 4 prefill and 0 decode replicas",
    ),
    _rule(
        "no_profile",
        {"profile": {"name": None}},
        "spec.profile",
        "exactly one of name and configMap is required, got neither",
    ),
    _rule(
        "two_profiles",
        {"profile": {"configMap": {"name": "mine"}}},
        "spec.profile",
        "exactly one of name and configMap is required, got both",
    ),
    _keyword(
        "prometheus_without_a_scheme",
        {"prometheus": {"url": "prometheus:9090"}},
        ("spec.prometheus.url must match", "got 'prometheus:9090'"),
        ("spec.prometheus.url", '"prometheus:9090"', "should match"),
    ),
    _rule(
        "metrics_timeout_of_nothing",
        {"prometheus": {"timeout": "10ms"}},
        "spec.prometheus.timeout",
        "at least 100ms, got 10ms",
    ),
    _rule(
        "metrics_without_a_credential",
        {"prometheus": {"auth": {}}},
        "spec.prometheus.auth",
        "exactly one of bearerToken and basic is required, got neither",
    ),
    _rule(
        "metrics_with_two_credentials",
        {"prometheus": {"auth": {"bearerToken": _KEY, "basic": {"username": _KEY, "password": _KEY}}}},
        "spec.prometheus.auth",
        "exactly one of bearerToken and basic is required, got both",
    ),
    _rule(
        "metrics_certificate_without_a_key",
        {"prometheus": {"url": "https://prometheus", "tls": {"cert": _KEY}}},
        "spec.prometheus.tls",
        "cert and key must be given together, got cert alone",
    ),
    _rule(
        "metrics_certificates_without_tls",
        {"prometheus": {"tls": {"ca": _KEY}}},
        "prometheus.url must begin with https:// where prometheus.tls is given, got http://prometheus:9090",
    ),
    _rule(
        "metrics_certificates_without_a_server",
        {"prometheus": {"url": None, "tls": {"ca": _KEY}}},
        "prometheus.url must begin with https:// where prometheus.tls is given, got none",
    ),
    _keyword(
        "forecast_model_nobody_knows",
        {"forecast": {"model": "Prophet"}},
        ("spec.forecast.model must be one of", "'Ridge'", "got 'Prophet'"),
        ("spec.forecast.model", '"Prophet"', '"Ridge"'),
    ),
    _keyword(
        "quantile_below_the_median",
        {"forecast": {"quantile": 0.4}},
        ("spec.forecast.quantile must be at least 0.5, got 0.4",),
        ("spec.forecast.quantile", "0.4", "greater than or equal to 0.5"),
    ),
    _rule(
        "history_of_four_steps",
        {"forecast": {"history": "1m", "step": "15s"}},
        "forecast.history must be 10 to 20160 times forecast.step (15s), got 1m",
    ),
    _rule(
        "history_longer_than_a_query_answers",
        {"forecast": {"history": "168h", "step": "15s"}},
        "forecast.history must be 10 to 20160 times forecast.step (15s), got 168h",
    ),
    _rule(
        "plans_without_a_pause",
        {"scaling": {"interval": "500ms"}},
        "spec.scaling.interval",
        "at least 1s, got 500ms",
    ),
    _keyword(
        "mode_nobody_knows",
        {"scaling": {"mode": "DryRun"}},
        ("spec.scaling.mode must be one of 'Auto', 'Recommend', 'Approve' or 'Paused'", "got 'DryRun'"),
        ("spec.scaling.mode", '"DryRun"', '"Auto", "Recommend", "Approve", "Paused"'),
    ),
    _keyword(
        "pace_of_no_replica",
        _scale_down({"type": "Pods", "value": 0, "periodSeconds": 60}),
        ("spec.scaling.behavior.scaleDown.policies[0].value must be at least 1", "got 0"),
        ("spec.scaling.behavior.scaleDown.policies[0].value", "0", "greater than or equal to 1"),
    ),
    _keyword(
        "pace_of_an_hour",
        _scale_down({"type": "Percent", "value": 50, "periodSeconds": 3600}),
        ("spec.scaling.behavior.scaleDown.policies[0].periodSeconds must be at most 1800", "got 3600"),
        ("spec.scaling.behavior.scaleDown.policies[0].periodSeconds", "3600", "less than or equal to 1800"),
    ),
    _keyword(
        "tolerance_of_everything",
        {"scaling": {"tolerance": 1}},
        ("spec.scaling.tolerance must be below 1", "got 1"),
        ("spec.scaling.tolerance", "1", "less than 1"),
    ),
    _rule(
        "local_prefill_on_sglang",
        {"engine": {"type": "SGLang", "image": "sglang"}, "router": {"placement": "AlwaysLocal"}},
        "router.placement must allow remote prefill for engine.type SGLang, got AlwaysLocal",
    ),
    _keyword(
        "placement_nobody_knows",
        {"router": {"placement": "RoundRobin"}},
        ("spec.router.placement must be one of", "'CostBased'", "got 'RoundRobin'"),
        ("spec.router.placement", '"RoundRobin"', '"CostBased"'),
    ),
    _rule(
        "threshold_that_nobody_uses",
        {"router": {"thresholdTokens": 256}},
        "router.thresholdTokens must be absent unless router.placement is Threshold, got 256",
    ),
    _keyword(
        "threshold_of_nothing",
        {"router": {"placement": "Threshold", "thresholdTokens": 0}},
        ("spec.router.thresholdTokens must be at least 1, got 0",),
        ("spec.router.thresholdTokens", "0", "greater than or equal to 1"),
    ),
    _keyword(
        "queue_order_nobody_knows",
        {"router": {"queueOrder": "LIFO"}},
        ("spec.router.queueOrder must be one of", "'ShortestRemaining'", "got 'LIFO'"),
        ("spec.router.queueOrder", '"LIFO"', '"ShortestRemaining"'),
    ),
    _keyword(
        "no_prefill_at_a_time",
        {"router": {"admit": 0}},
        ("spec.router.admit must be at least 1, got 0",),
        ("spec.router.admit", "0", "greater than or equal to 1"),
    ),
    _keyword(
        "rejection_that_is_no_truth_value",
        {"router": {"rejectLate": "yes"}},
        ("spec.router.rejectLate", "boolean", "got 'yes'"),
        ("spec.router.rejectLate", "boolean", "string"),
    ),
    _rule(
        "no_front_router",
        {"router": {"replicas": 0}},
        "router.replicas must be at least 1 unless both roles have a scaleTargetRef, got 0",
    ),
    _rule(
        "no_front_router_for_one_pool_of_ours",
        {"router": {"replicas": 0}, "decode": {"scaleTargetRef": _TARGET}},
        "router.replicas must be at least 1 unless both roles have a scaleTargetRef, got 0",
    ),
    _rule(
        "pod_template_for_somebody_elses_pods",
        {"decode": {"scaleTargetRef": _TARGET, "podTemplate": {}}},
        "spec.decode",
        "podTemplate must be absent where scaleTargetRef names somebody else's pods, got both",
    ),
    _rule(
        "one_target_and_no_image_for_the_other_pool",
        {"engine": {"type": "vLLM"}, "prefill": {"scaleTargetRef": _TARGET}},
        "engine.image is required for engine.type vLLM, got none",
    ),
    _rule(
        "one_target_for_both_pools",
        {"prefill": {"scaleTargetRef": _TARGET}, "decode": {"scaleTargetRef": _TARGET}},
        "decode.scaleTargetRef must differ from prefill.scaleTargetRef, got StatefulSet engines twice",
    ),
    _keyword(
        "target_without_a_version",
        {"decode": {"scaleTargetRef": _TARGET | {"apiVersion": "apps"}}},
        ("spec.decode.scaleTargetRef.apiVersion must match", "got 'apps'"),
        ("spec.decode.scaleTargetRef.apiVersion", '"apps"', "should match"),
    ),
    _keyword(
        "target_that_is_a_plural",
        {"decode": {"scaleTargetRef": _TARGET | {"kind": "statefulsets"}}},
        ("spec.decode.scaleTargetRef.kind must match", "got 'statefulsets'"),
        ("spec.decode.scaleTargetRef.kind", '"statefulsets"', "should match"),
    ),
    _keyword(
        "target_without_a_name",
        {"decode": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet"}}},
        ("spec.decode.scaleTargetRef.name is required",),
        ("spec.decode.scaleTargetRef.name: Required value",),
    ),
)
