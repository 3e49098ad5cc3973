"""What the two legs of a split request look like on the wire, per engine. Pure functions of parsed JSON.

vLLM with the NIXL connector in pull mode (0.33), ``bidirectional_kv_xfer`` on both sides:

    prefill leg   one token, not streamed; blank parameters, or the session's own with the flags set, so that
                  the prefill engine reads the history from the decode engine
    decode leg    the client's body plus the parameters that the prefill leg answered with
    local round   the client's body plus two flags, so that the decode engine hands out parameters for the
                  next round; plain where the connector cannot do that

Parameters are opaque but for their two flags: both false pins blocks, ``do_remote_prefill`` without
block ids kills the engine, and a second use may read freed blocks. So clients' own are removed, and
what is built here never has either form. The emulated engine speaks the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from pdscale.engines.errors import UnsupportedEngine

Body = dict[str, Any]
Params = Mapping[str, Any]

_BLANK: Final[Params] = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
_FLAGS: Final[Params] = {"do_remote_decode": True, "do_remote_prefill": False}
_NOT_IN_PREFILL: Final = ("stream_options", "min_tokens", "min_completion_tokens")
_SPLIT_PATHS: Final = ("/v1/chat/completions", "/v1/completions")


class EngineType(StrEnum):
    VLLM = "vLLM"
    SGLANG = "SGLang"
    EMULATED = "Emulated"


class Dialect(Protocol):
    def splittable(self, path: str, body: Body) -> bool:
        """Whether the request may be cut into a prefill and a decode leg."""

    def prefill_leg(self, body: Body, history: Params | None) -> Body: ...

    def decode_leg(self, body: Body, params: Params) -> Body: ...

    def local_round(self, body: Body) -> Body: ...

    @property
    def history_moves(self) -> bool:
        """Whether a prefill replica can read a session's KV from the decode replica."""


@dataclass(frozen=True, slots=True)
class VLLM:
    """NIXL pull; ``bidirectional`` when both sides run with ``bidirectional_kv_xfer``."""

    bidirectional: bool = True

    @property
    def history_moves(self) -> bool:
        return self.bidirectional

    def splittable(self, path: str, body: Body) -> bool:
        """One prompt, one answer, and nothing that only a full forward pass over the prompt gives."""
        if path not in _SPLIT_PATHS or any(body.get(k) for k in ("echo", "prompt_logprobs")):
            return False
        if any(_count(body.get(k)) > 1 for k in ("n", "best_of")) or body.get("use_beam_search"):
            return False
        prompt = body.get("prompt")
        return not isinstance(prompt, list) or all(isinstance(token, int) for token in prompt)

    def prefill_leg(self, body: Body, history: Params | None) -> Body:
        leg = {k: v for k, v in body.items() if k not in _NOT_IN_PREFILL}
        leg |= {"stream": False, "max_tokens": 1}
        if "max_completion_tokens" in body:
            leg["max_completion_tokens"] = 1
        leg["kv_transfer_params"] = {**(_BLANK if history is None else history), **_FLAGS}
        return leg

    def decode_leg(self, body: Body, params: Params) -> Body:
        return {**body, "kv_transfer_params": dict(params)}

    def local_round(self, body: Body) -> Body:
        return {**body, "kv_transfer_params": dict(_FLAGS)} if self.bidirectional else body


def usable_for_decode(params: object) -> bool:
    """Whether a prefill leg's answer can be sent on: block ids missing would kill the decode engine."""
    return (
        isinstance(params, dict)
        and params.get("do_remote_prefill") is True
        and params.get("remote_block_ids") is not None
    )


def usable_for_prefill(params: object) -> bool:
    """Whether what a decode engine handed out names blocks that a prefill engine can read."""
    return isinstance(params, dict) and bool(params.get("remote_block_ids"))


def dialect_of(engine: EngineType, *, bidirectional: bool) -> Dialect:
    if engine is EngineType.SGLANG:
        raise UnsupportedEngine(
            "engine.type SGLang is not supported by the router yet: its two legs start at once and meet by "
            "bootstrap fields; supported are vLLM and Emulated"
        )
    return VLLM(bidirectional)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 1
