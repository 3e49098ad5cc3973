"""Fields that vLLM 0.33 writes into answers although they are empty for what this engine can do.

Clients and routers meet them in every answer: ``kv_transfer_params`` alone is in each event of a stream, so a
router that looks for its name finds it there, and an event costs what it costs with a real engine. Compared
with a real engine by the tier ``engines``.
"""

from collections.abc import Mapping
from typing import Any, Final

Fields = Mapping[str, Any]

FINGERPRINT: Final = "vllm-0.33.0-emulated"
MESSAGE: Final[Fields] = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
CHAT_CHOICE: Final[Fields] = dict.fromkeys(("token_ids", "routed_experts", "weight_versions"))
TEXT_CHOICE: Final[Fields] = dict.fromkeys(("prompt_logprobs", "prompt_token_ids", *CHAT_CHOICE))
CHAT_BODY: Final[Fields] = dict.fromkeys(("prompt_logprobs", "prompt_token_ids", "prompt_text"))
BODY: Final[Fields] = {"service_tier": None, "system_fingerprint": FINGERPRINT}
BODY_END: Final[Fields] = dict.fromkeys(("ec_transfer_params", "metrics"))

CHAT_OPENING: Final[Fields] = dict.fromkeys(("prompt_token_ids", "prompt_text"))
CHAT_EVENT: Final[Fields] = {"token_ids": None}
CHAT_LAST_EVENT: Final[Fields] = {"token_ids": None, "weight_versions": None}
TEXT_EVENT: Final[Fields] = dict.fromkeys(("stop_reason", "prompt_token_ids", "token_ids", "weight_versions"))


def usage_details(cached: int, *, chat: bool, stream: bool) -> dict[str, Any]:
    """``prompt_tokens_details``: the two interfaces and their streams each have their own."""
    found: dict[str, Any] = {"cached_tokens": cached}
    if chat or not stream:
        found["created_cache_tokens"] = 0 if chat else None
    if not stream:
        found["multimodal_tokens"] = None
    return found
