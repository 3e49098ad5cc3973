"""What the two legs of a split request look like on the wire, whichever engine it is.

Engines differ in more than fields. With vLLM one leg follows the other and the decode engine can do without
a prefill leg; with SGLang both start at once and neither can do without the other. ``both_at_once`` and
``local_possible`` say so, and the exchange of a round is chosen by them (``placement.exchange``,
``placement.exchange_at_once``).
"""

import random
from enum import StrEnum
from typing import Protocol

from pdscale.engines.sglang import BOOTSTRAP_PORT, SGLang
from pdscale.engines.vllm import VLLM, Body, Params, usable_for_decode, usable_for_prefill

__all__ = [
    "VLLM",
    "Body",
    "Dialect",
    "EngineType",
    "Params",
    "SGLang",
    "dialect_of",
    "usable_for_decode",
    "usable_for_prefill",
]


class EngineType(StrEnum):
    VLLM = "vLLM"
    SGLANG = "SGLang"
    EMULATED = "Emulated"


class Dialect(Protocol):
    """Bodies of legs; ``..._fields`` are what a leg adds to the client's body, spliced into its bytes."""

    @property
    def both_at_once(self) -> bool:
        """Both legs start together and find each other by ``meeting``'s parameters; no answer joins them."""

    @property
    def local_possible(self) -> bool:
        """Whether a decode replica can serve a round alone."""

    @property
    def history_moves(self) -> bool:
        """Whether a prefill replica can read a session's KV from the decode replica."""

    def splittable(self, path: str, body: Body) -> bool:
        """Whether the request may be cut into a prefill and a decode leg."""

    def meeting(self, prefill_host: str, rng: random.Random) -> Params | None:
        """Fresh parameters for both legs of one attempt; ``None`` where legs run one after the other."""

    def prefill_leg(self, body: Body, params: Params | None) -> Body:
        """``params``: the meeting's, or the session's history where legs run one after the other."""

    def decode_fields(self, params: Params) -> Params: ...

    def decode_leg(self, body: Body, params: Params) -> Body: ...

    def local_fields(self) -> Params: ...

    def local_round(self, body: Body) -> Body: ...


def dialect_of(
    engine: EngineType, *, bidirectional: bool = True, bootstrap_port: int = BOOTSTRAP_PORT
) -> Dialect:
    """An emulated engine that speaks SGLang's protocol has the type SGLang; ``Emulated`` speaks vLLM's."""
    if engine is EngineType.SGLANG:
        return SGLang(bootstrap_port)
    return VLLM(bidirectional)
