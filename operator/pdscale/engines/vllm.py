"""vLLM with the NIXL connector in pull mode (0.33): first the prefill leg, then the decode leg.

    prefill leg   one token, not streamed; blank parameters, or the session's own with the flags set, so that
                  the prefill engine reads the history from the decode engine
    decode leg    the client's body plus the parameters that the prefill leg answered with
    local round   the client's body plus two flags, so that the decode engine hands out parameters for the
                  next round; plain where the connector cannot do that

Parameters are opaque but for their two flags: both false pins blocks, ``do_remote_prefill`` without
block ids kills the engine, and a second use may read freed blocks. So clients' own are removed, and
what is built here never has either form. The emulated engine speaks the same.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Body = dict[str, Any]
Params = Mapping[str, Any]

_FIELD: Final = "kv_transfer_params"
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
# Few requests have any of these, and those may keep an engine from splitting them.
_WHOLE_ONLY: Final = frozenset(("echo", "prompt_logprobs", "use_beam_search", "n", "best_of"))
_SPLIT_PATHS: Final = ("/v1/chat/completions", "/v1/completions")


@dataclass(frozen=True, slots=True)
class VLLM:
    """``bidirectional`` if both sides run with ``bidirectional_kv_xfer`` and streams hand parameters out."""

    bidirectional: bool = True

    @property
    def history_moves(self) -> bool:
        return self.bidirectional

    @property
    def both_at_once(self) -> bool:
        return False

    @property
    def local_possible(self) -> bool:
        return True

    def splittable(self, path: str, body: Body) -> bool:
        """One prompt, one answer, and nothing that only a full forward pass over the prompt gives."""
        if path not in _SPLIT_PATHS:
            return False
        if not _WHOLE_ONLY.isdisjoint(body) and _needs_one_engine(body):
            return False
        prompt = body.get("prompt")
        return not isinstance(prompt, list) or all(isinstance(token, int) for token in prompt)

    def meeting(self, prefill_host: str, rng: random.Random) -> Params | None:
        return None

    def prefill_leg(self, body: Body, params: Params | None) -> Body:
        """``params`` are those that the session's last round handed out, if they can still be used."""
        leg = {k: v for k, v in body.items() if k not in _NOT_IN_PREFILL}
        leg |= {"stream": False, "max_tokens": 1}
        if "max_completion_tokens" in body:
            leg["max_completion_tokens"] = 1
        leg[_FIELD] = {**(_BLANK if params is None else params), **_FLAGS}
        return leg

    def decode_fields(self, params: Params) -> Params:
        return {_FIELD: dict(params)}

    def decode_leg(self, body: Body, params: Params) -> Body:
        return {**body, **self.decode_fields(params)}

    def local_fields(self) -> Params:
        return {_FIELD: dict(_FLAGS)} if self.bidirectional else {}

    def local_round(self, body: Body) -> Body:
        return {**body, **self.local_fields()} if self.bidirectional else body


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


def _needs_one_engine(body: Body) -> bool:
    if any(body.get(name) for name in ("echo", "prompt_logprobs", "use_beam_search")):
        return True
    return any(_count(body.get(name)) > 1 for name in ("n", "best_of"))


def _count(value: object) -> int:
    return value if isinstance(value, int) else 1
