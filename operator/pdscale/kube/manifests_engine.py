"""Commands of the engines. What they must have in common is that both roles run the same one.

vLLM's NIXL connector takes either side of a transfer (``kv_both``), so roles are a matter of routing.
SGLang starts in a role; it reads the pod's label when its container starts, and an idle one is switched
by its own ``/pd_role_switch`` afterwards.
"""

import json
from typing import Any, Final

from pdscale.api.v1alpha1 import Engine, ProfileSource, Spec
from pdscale.kube import pinning
from pdscale.kube.pools import ROLE_LABEL

PROFILE_FILE: Final = "profile.json"
PROFILE_PATH: Final = f"/etc/pdscale/{PROFILE_FILE}"
ROLE_AT_START: Final = "PDSCALE_ROLE_AT_START"
_BOOTSTRAP_PORT: Final = 8998


def kv_transfer(pinned_for: int) -> str:
    """vLLM's transfer config: prefill engines may read a session's history from its decode engine.

    That keeps it for ``pinned_for`` seconds after a round.
    """
    extra = {"bidirectional_kv_xfer": True, "decoder_kv_blocks_ttl": pinned_for}
    config = {"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_connector_extra_config": extra}
    return json.dumps(config, separators=(",", ":"))


KV_TRANSFER: Final = kv_transfer(pinning.DEFAULT)


def engine_command(spec: Spec, *, gpus: int, pinned_for: int) -> tuple[list[str], list[str]]:
    """Command and arguments. The user's arguments come last; the user's command replaces ours."""
    engine = spec.engine
    if engine.command:
        return list(engine.command), list(engine.args)
    if engine.type == "vLLM":
        return ["vllm", "serve"], [*_vllm(spec, gpus, pinned_for), *engine.args]
    if engine.type == "SGLang":
        return ["python3", "-m", "sglang.launch_server"], [*_sglang(spec, gpus), *engine.args]
    return ["python", "-m", "pdscale.emulator"], [*_emulated(spec, pinned_for), *engine.args]


def _vllm(spec: Spec, gpus: int, pinned_for: int) -> list[str]:
    return [
        spec.model,
        *_address(spec.engine),
        *("--tensor-parallel-size", str(gpus)),
        *(pinning.ARGUMENT, kv_transfer(pinned_for)),
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


def _emulated(spec: Spec, pinned_for: int) -> list[str]:
    return [
        *_address(spec.engine),
        *("--model", spec.model),
        *profile_arguments(spec.profile),
        *(pinning.ARGUMENT, kv_transfer(pinned_for)),
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
