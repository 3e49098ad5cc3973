"""The connector's JSON, read as vLLM reads it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from pdscale.emulator.option_values import BadOption
from pdscale.emulator.transfer import OnFailure, TransferConfig
from pdscale.model.units import Seconds

_ROLES: Final = ("kv_both", "kv_producer", "kv_consumer")


def transfer_config(text: str | None, lease: Seconds | None) -> TransferConfig | None:
    """None if there is no connector."""
    if text is None:
        return None
    option = "--kv-transfer-config"
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise BadOption(f"{option} must be JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BadOption(f"{option} must be a JSON object, got {text}")
    _one_of(raw, "kv_connector", ("NixlConnector",))
    _one_of(raw, "kv_role", _ROLES)
    policy = raw.get("kv_load_failure_policy", OnFailure.FAIL)
    _one_of({"kv_load_failure_policy": policy}, "kv_load_failure_policy", tuple(OnFailure))
    extra = raw.get("kv_connector_extra_config", {})
    if not isinstance(extra, dict):
        raise BadOption(f"{option}: kv_connector_extra_config must be an object, got {extra!r}")
    try:
        return TransferConfig(
            bidirectional=_typed(extra, "bidirectional_kv_xfer", bool, False),
            recompute_threshold=_typed(extra, "kv_recompute_threshold", int, 64),
            decoder_blocks_ttl=_typed(extra, "decoder_kv_blocks_ttl", float, 480.0),
            lease=lease or _typed(extra, "kv_lease_duration", float, 30.0),
            on_failure=OnFailure(policy),
        )
    except ValueError as error:
        raise BadOption(f"{option}: {error}") from error


def _one_of(raw: Mapping[str, Any], name: str, values: tuple[str, ...]) -> None:
    if raw.get(name) not in values:
        allowed = ", ".join(values)
        raise BadOption(f"--kv-transfer-config: {name} must be one of {allowed}, got {raw.get(name)}")


def _typed(raw: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    figure = raw.get(name, default)
    if kind is float and isinstance(figure, int) and not isinstance(figure, bool):
        return float(figure)
    if not isinstance(figure, kind) or (kind is int and isinstance(figure, bool)):
        raise ValueError(f"{name} must be of type {kind.__name__}, got {figure!r}")
    return figure
