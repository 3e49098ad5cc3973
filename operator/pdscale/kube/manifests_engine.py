"""Commands of the engines. What they must have in common is that both roles run the same one.

vLLM's NIXL connector takes either side of a transfer (``kv_both``), so roles are a matter of routing.
SGLang starts in a role; it reads the pod's label when its container starts, and an idle one is switched
by its own ``/pd_role_switch`` afterwards.
"""

import json
from typing import Any, Final

from pdscale.api.v1alpha1 import Engine, ProfileSource, Spec
from pdscale.kube.pools import ROLE_LABEL

PROFILE_FILE: Final = "profile.json"
PROFILE_PATH: Final = f"/etc/pdscale/{PROFILE_FILE}"
ROLE_AT_START: Final = "PDSCALE_ROLE_AT_START"
_BOOTSTRAP_PORT: Final = 8998

# Prefill engines may read a session's history from the decode engine that holds it. Every round that ends
# leaves its blocks pinned for this while, session or not: at 3 rounds/s of 1400 tokens a minute pins 0.25 M
# tokens of KV; vLLM's default of 480 s would pin 2 M, more than a replica has. A round that comes later
# finds no pinned history, but maybe the decode engine's prefix cache.
_PINNED_FOR: Final = 60
KV_TRANSFER: Final = json.dumps(
    {
        "kv_connector": "NixlConnector",
        "kv_role": "kv_both",
        "kv_connector_extra_config": {"bidirectional_kv_xfer": True, "decoder_kv_blocks_ttl": _PINNED_FOR},
    },
    separators=(",", ":"),
)


def engine_command(spec: Spec, *, gpus: int) -> tuple[list[str], list[str]]:
    """Command and arguments. The user's arguments come last; the user's command replaces ours."""
    engine = spec.engine
    if engine.command:
        return list(engine.command), list(engine.args)
    if engine.type == "vLLM":
        return ["vllm", "serve"], [*_vllm(spec, gpus), *engine.args]
    if engine.type == "SGLang":
        return ["python3", "-m", "sglang.launch_server"], [*_sglang(spec, gpus), *engine.args]
    return ["python", "-m", "pdscale.emulator"], [*_emulated(spec), *engine.args]


def _vllm(spec: Spec, gpus: int) -> list[str]:
    return [
        spec.model,
        *_address(spec.engine),
        *("--tensor-parallel-size", str(gpus)),
        *("--kv-transfer-config", KV_TRANSFER),
        # Says how much of a prompt was cached: the router's measure of the work that was left.
        "--enable-prompt-tokens-details",
    ]


def _sglang(spec: Spec, gpus: int) -> list[str]:
    return [
        *("--model-path", spec.model),
        *_address(spec.engine),
        *("--tp-size", str(gpus)),
        *("--disaggregation-mode", f"$({ROLE_AT_START})"),
        *("--disaggregation-bootstrap-port", str(_BOOTSTRAP_PORT)),
        "--enable-pd-role-switch",
        "--enable-metrics",
        # Says how much of a prompt was cached, as above.
        "--enable-cache-report",
    ]


def _emulated(spec: Spec) -> list[str]:
    return [
        *_address(spec.engine),
        *("--model", spec.model),
        *profile_arguments(spec.profile),
        *("--kv-transfer-config", KV_TRANSFER),
        "--enable-prompt-tokens-details",
    ]


def profile_arguments(source: ProfileSource) -> list[str]:
    """A built-in profile by name; one of the user's as the file that is mounted for it."""
    return ["--profile", source.name] if source.name else ["--profile-file", PROFILE_PATH]


def _address(engine: Engine) -> list[str]:
    return ["--host", "$(POD_IP)", "--port", str(engine.port)]


def pod_env() -> list[dict[str, Any]]:
    """What a container knows of its pod; later variables and arguments may refer to it."""
    fields = {
        "POD_IP": "status.podIP",
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
    }
    return [_field(name, path) for name, path in fields.items()]


def engine_env(engine: Engine) -> list[dict[str, Any]]:
    """Ours first, so that the user's may refer to them; one of ours that the user names is replaced."""
    ours = pod_env()
    if engine.type != "SGLang":
        # The address that other engines connect to; its default is localhost.
        ours.append({"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "value": "$(POD_IP)"})
    if engine.type == "SGLang":
        ours.append(_field(ROLE_AT_START, f"metadata.labels['{ROLE_LABEL}']"))
    named = {variable.name for variable in engine.env}
    return [v for v in ours if v["name"] not in named] + [v.dump() for v in engine.env]


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
