"""The rules of v1alpha1 that span fields, each as CEL and as a check with the same message.

CEL sees the object after defaulting, so a field with a default is always there; `has()` is needed only for
fields that are truly optional. Numbers enter messages by `format()`: the API server estimates the length of
`string(number)` as endless and refuses the CRD for its cost.

The checks know the models by the few fields that they look at, because the models name the rules.
"""

import re
from typing import Final, Protocol

from pdscale.api.fields import Rule
from pdscale.model.units import parse_duration


class _Named(Protocol):
    name: str


class _Object(Protocol):
    metadata: _Named


class _Engine(Protocol):
    type: str
    env: list[_Named]
    port: int


class _Pool(Protocol):
    min_replicas: int
    max_replicas: int
    gpus_per_replica: int


class _ProfileSource(Protocol):
    name: str | None
    config_map: object | None


class _Tls(Protocol):
    cert: object | None
    key: object | None


class _Auth(Protocol):
    bearer_token: object | None
    basic: object | None


class _Prometheus(Protocol):
    url: str | None
    tls: object | None


class _Forecast(Protocol):
    history: str
    step: str


class _Router(Protocol):
    placement: str
    threshold_tokens: int | None


class _Spec(Protocol):
    engine: _Engine
    prefill: _Pool
    decode: _Pool
    gpu_budget: int
    prometheus: _Prometheus
    forecast: _Forecast
    router: _Router


# Longest name of a child: NAME-prefill-<10 of the ReplicaSet's hash>-<5 of the pod> within 63:
# 63 - len("-prefill") - 11 - 6 = 38. Beyond it Kubernetes cuts names, and the selection of series
# by pod name in the metrics queries would go blind.
LONGEST_NAME: Final = 38
FEWEST_STEPS: Final = 10
MOST_STEPS: Final = 20_160  # two weeks of minutes
TAKEN_PORTS: Final = (8080, 9090)  # the router's in the same pod
_DNS_LABEL: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"


def _name_fits(o: _Object) -> str | None:
    if len(o.metadata.name) <= LONGEST_NAME:
        return None
    return (
        f"metadata.name must have at most {LONGEST_NAME} characters, so that the pods' names fit "
        f"in 63, got {len(o.metadata.name)}"
    )


NAME_FITS_CHILDREN: Final = Rule(
    cel=f"self.metadata.name.size() <= {LONGEST_NAME}",
    says=f"'metadata.name must have at most {LONGEST_NAME} characters, so that the pods\\' names fit "
    "in 63, got %d'.format([self.metadata.name.size()])",
    check=_name_fits,
)


def _name_is_label(o: _Object) -> str | None:
    if re.fullmatch(_DNS_LABEL, o.metadata.name):
        return None
    return (
        "metadata.name must be lower case letters, digits and dashes and begin with a letter, "
        f"because a Service gets it, got {o.metadata.name}"
    )


NAME_IS_A_DNS_LABEL: Final = Rule(
    cel=f"self.metadata.name.matches('{_DNS_LABEL}')",
    says="'metadata.name must be lower case letters, digits and dashes and begin with a letter, "
    "because a Service gets it, got ' + self.metadata.name",
    check=_name_is_label,
)


def _port_free(e: _Engine) -> str | None:
    if e.port not in TAKEN_PORTS:
        return None
    return f"port must not be 8080 or 9090, which the router has in the same pod, got {e.port}"


ENGINE_PORT_IS_FREE: Final = Rule(
    cel=f"!(self.port in {list(TAKEN_PORTS)})",
    says="'port must not be 8080 or 9090, which the router has in the same pod, got %d'.format([self.port])",
    check=_port_free,
    field="port",
)


def _env_unique(e: _Engine) -> str | None:
    names = [v.name for v in e.env]
    twice = next((n for n in names if names.count(n) > 1), None)
    return f"env must name each variable once, got {twice} twice" if twice else None


# The API server refuses duplicates by itself, because the list is a map keyed by name.
ENV_NAMES_ARE_UNIQUE: Final = Rule(cel=None, says=None, check=_env_unique)


def _replicas_in_order(p: _Pool) -> str | None:
    if p.min_replicas <= p.max_replicas:
        return None
    return f"minReplicas must be at most maxReplicas ({p.max_replicas}), got {p.min_replicas}"


REPLICAS_IN_ORDER: Final = Rule(
    cel="self.minReplicas <= self.maxReplicas",
    says="'minReplicas must be at most maxReplicas (%d), got %d'"
    ".format([self.maxReplicas, self.minReplicas])",
    check=_replicas_in_order,
    field="minReplicas",
)


def _one_profile(p: _ProfileSource) -> str | None:
    given = [n for n, v in (("name", p.name), ("configMap", p.config_map)) if v is not None]
    if len(given) == 1:
        return None
    return f"exactly one of name and configMap is required, got {'both' if given else 'neither'}"


ONE_PROFILE_SOURCE: Final = Rule(
    cel="has(self.name) != has(self.configMap)",
    says="'exactly one of name and configMap is required, got ' + (has(self.name) ? 'both' : 'neither')",
    check=_one_profile,
)


def _history_fits(s: _Spec) -> str | None:
    history, step = s.forecast.history, s.forecast.step
    if FEWEST_STEPS <= parse_duration(history) / parse_duration(step) <= MOST_STEPS:
        return None
    return (
        f"forecast.history must be {FEWEST_STEPS} to {MOST_STEPS} times forecast.step ({step}), got {history}"
    )


_HISTORY_MS: Final = "duration(self.forecast.history).getMilliseconds()"
_STEP_MS: Final = "duration(self.forecast.step).getMilliseconds()"
# It stands on the spec: `forecast` may be `{}`, and the rules of a default run before it is filled.
HISTORY_FITS_STEPS: Final = Rule(
    cel=f"{_HISTORY_MS} >= {FEWEST_STEPS} * {_STEP_MS} && {_HISTORY_MS} <= {MOST_STEPS} * {_STEP_MS}",
    says=f"'forecast.history must be {FEWEST_STEPS} to {MOST_STEPS} times forecast.step (' "
    "+ self.forecast.step + '), got ' + self.forecast.history",
    check=_history_fits,
    field="forecast.history",
)


def _fits_budget(s: _Spec) -> str | None:
    least = (
        s.prefill.min_replicas * s.prefill.gpus_per_replica
        + s.decode.min_replicas * s.decode.gpus_per_replica
    )
    if least <= s.gpu_budget:
        return None
    return (
        f"gpuBudget must be at least {least}, which prefill.minReplicas ({s.prefill.min_replicas}) "
        f"and decode.minReplicas ({s.decode.min_replicas}) hold, got {s.gpu_budget}"
    )


_LEAST_GPUS: Final = (
    "self.prefill.minReplicas * self.prefill.gpusPerReplica"
    " + self.decode.minReplicas * self.decode.gpusPerReplica"
)
MINIMUM_FITS_BUDGET: Final = Rule(
    cel=f"{_LEAST_GPUS} <= self.gpuBudget",
    says="'gpuBudget must be at least %d, which prefill.minReplicas (%d) and decode.minReplicas (%d) "
    f"hold, got %d'.format([{_LEAST_GPUS}, self.prefill.minReplicas, self.decode.minReplicas, "
    "self.gpuBudget])",
    check=_fits_budget,
    field="gpuBudget",
)


def _decode_needs_one(s: _Spec) -> str | None:
    if s.decode.min_replicas >= 1:
        return None
    return f"decode.minReplicas must be at least 1, got {s.decode.min_replicas}"


# Without a decode replica a request has nowhere to go, and so nothing would ever ask for one.
DECODE_NEEDS_ONE: Final = Rule(
    cel="self.decode.minReplicas >= 1",
    says="'decode.minReplicas must be at least 1, got %d'.format([self.decode.minReplicas])",
    check=_decode_needs_one,
    field="decode.minReplicas",
)


def _sglang_remote(s: _Spec) -> str | None:
    if s.engine.type != "SGLang" or s.router.placement != "AlwaysLocal":
        return None
    return "router.placement must allow remote prefill for engine.type SGLang, got AlwaysLocal"


# A decode instance of SGLang answers 400 to a request that no prefill instance has begun.
SGLANG_PREFILLS_REMOTELY: Final = Rule(
    cel="self.engine.type != 'SGLang' || self.router.placement != 'AlwaysLocal'",
    says="'router.placement must allow remote prefill for engine.type SGLang, got ' + self.router.placement",
    check=_sglang_remote,
    field="router.placement",
)


def _threshold_used(s: _Spec) -> str | None:
    tokens = s.router.threshold_tokens
    if tokens is None or s.router.placement == "Threshold":
        return None
    return f"router.thresholdTokens must be absent unless router.placement is Threshold, got {tokens}"


# It stands on the spec for the same reason as the rule on the forecast.
THRESHOLD_IS_USED: Final = Rule(
    cel="!has(self.router.thresholdTokens) || self.router.placement == 'Threshold'",
    says="'router.thresholdTokens must be absent unless router.placement is Threshold, got %d'"
    ".format([self.router.thresholdTokens])",
    check=_threshold_used,
    field="router.thresholdTokens",
)


def _one_credential(a: _Auth) -> str | None:
    given = [n for n, v in (("bearerToken", a.bearer_token), ("basic", a.basic)) if v is not None]
    if len(given) == 1:
        return None
    return f"exactly one of bearerToken and basic is required, got {'both' if given else 'neither'}"


ONE_CREDENTIAL: Final = Rule(
    cel="has(self.bearerToken) != has(self.basic)",
    says="'exactly one of bearerToken and basic is required, got '"
    " + (has(self.bearerToken) ? 'both' : 'neither')",
    check=_one_credential,
)


def _cert_with_key(t: _Tls) -> str | None:
    if (t.cert is None) == (t.key is None):
        return None
    return f"cert and key must be given together, got {'key' if t.cert is None else 'cert'} alone"


CERT_WITH_KEY: Final = Rule(
    cel="has(self.cert) == has(self.key)",
    says="'cert and key must be given together, got ' + (has(self.cert) ? 'cert' : 'key') + ' alone'",
    check=_cert_with_key,
)


def _tls_on_https(s: _Spec) -> str | None:
    url = s.prometheus.url
    if s.prometheus.tls is None or (url is not None and url.startswith("https://")):
        return None
    return (
        "prometheus.url must begin with https:// where prometheus.tls is given, "
        f"got {'none' if url is None else url}"
    )


# It stands on the spec: `prometheus` may be `{}`, and the rules of a default run before it is filled.
TLS_ON_HTTPS: Final = Rule(
    cel="!has(self.prometheus.tls) || "
    "(has(self.prometheus.url) && self.prometheus.url.startsWith('https://'))",
    says="'prometheus.url must begin with https:// where prometheus.tls is given, got ' + "
    "(has(self.prometheus.url) ? self.prometheus.url : 'none')",
    check=_tls_on_https,
    field="prometheus.url",
)
