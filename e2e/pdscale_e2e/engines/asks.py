"""The requests that are sent to a real and to an emulated engine, for the shapes of their answers.

None of them ends a real engine or takes memory from it for ever; those that would are sent to the router only
(``docs/engines.md``).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from pdscale_e2e.engines.command import MAX_MODEL_LEN, SERVED
from pdscale_e2e.engines.shapes import Shape, shape_of
from pdscale_e2e.engines.talk import CHAT, TEXT, Answer, read_answer

FLAGS: Final[Mapping[str, Any]] = {"do_remote_decode": True, "do_remote_prefill": False}
BLANK: Final[Mapping[str, Any]] = {
    **FLAGS,
    **dict.fromkeys(("remote_engine_id", "remote_block_ids", "remote_host", "remote_port")),
}
_PATIENCE: Final = aiohttp.ClientTimeout(total=60)


@dataclass(frozen=True, slots=True)
class Ask:
    """``content`` goes out as it is; a mapping as JSON."""

    name: str
    path: str
    content: bytes | Mapping[str, Any] | None = None
    method: str = "POST"


def _chat(name: str, **changes: Any) -> Ask:
    body = {"model": SERVED, "messages": [{"role": "user", "content": "how are you"}], "max_tokens": 24}
    return Ask(f"chat {name}", CHAT, {"ignore_eos": True, "temperature": 0} | body | changes)


def _text(name: str, **changes: Any) -> Ask:
    body = {"model": SERVED, "prompt": "how are you", "max_tokens": 24}
    return Ask(f"text {name}", TEXT, {"ignore_eos": True, "temperature": 0} | body | changes)


_USAGE: Final = {"include_usage": True}
_LONG: Final = [7] * (MAX_MODEL_LEN + 10)

ASKS: Final[tuple[Ask, ...]] = (
    _chat("whole"),
    _chat("whole, token ids", return_token_ids=True),
    _chat("stream", stream=True),
    _chat("stream, usage", stream=True, stream_options=_USAGE),
    _chat("stream, token ids", stream=True, return_token_ids=True),
    _chat("max_completion_tokens", max_completion_tokens=3),
    _chat("parts", messages=[{"role": "user", "content": [{"type": "text", "text": "how are you"}]}]),
    _text("whole"),
    _text("whole, token ids", return_token_ids=True),
    _text("of token ids", prompt=[40, 41, 42]),
    _text("stream", stream=True),
    _text("stream, usage", stream=True, stream_options=_USAGE),
    _text("stream, token ids", stream=True, return_token_ids=True),
    _chat("unknown model", model="nobody"),
    _chat("unknown field", surprise=1),
    _chat("no messages", messages=[]),
    _chat("messages of the wrong type", messages="hello"),
    _chat("message without a role", messages=[{"content": "hello"}]),
    _chat("max_tokens 0", max_tokens=0),
    _chat("max_tokens below 0", max_tokens=-1),
    _chat("max_tokens a text", max_tokens="many"),
    _chat("max_tokens beyond the context", max_tokens=MAX_MODEL_LEN * 2),
    _chat("min_tokens above max_tokens", min_tokens=99),
    _chat("temperature below 0", temperature=-1),
    _chat("usage without a stream", stream_options=_USAGE),
    _chat("stop of the wrong type", stop=7),
    _chat("priority a text", priority="soon"),
    _text("no prompt", prompt=None),
    _text("empty prompt", prompt=""),
    _text("prompt too long", prompt=_LONG),
    _text("prompt too long, streamed", prompt=_LONG, stream=True),
    _text("token id below 0", prompt=[-1]),
    _chat("transfer a text", kv_transfer_params="x"),
    _chat("transfer a list", kv_transfer_params=[]),
    _chat("transfer empty", kv_transfer_params={}),
    _chat("local round", kv_transfer_params=FLAGS),
    _chat("local round, streamed", kv_transfer_params=FLAGS, stream=True, stream_options=_USAGE),
    _chat("local round refused", kv_transfer_params=FLAGS, model="nobody"),
    Ask("not JSON", CHAT, b"{"),
    Ask("JSON but no object", CHAT, b"[1]"),
    Ask("nothing", CHAT, b""),
    Ask("unknown path", "/v1/surprises", b"{}"),
    Ask("wrong method", CHAT, method="GET"),
    Ask("models", "/v1/models", method="GET"),
    Ask("health", "/health", method="GET"),
    Ask("version", "/version", method="GET"),
    Ask("load", "/load", method="GET"),
    Ask("tokenize", "/tokenize", {"model": SERVED, "prompt": "how are you"}),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two engines of one kind that may fetch KV from each other."""

    prefill: str
    decode: str


async def shapes(http: aiohttp.ClientSession, pair: Pair) -> dict[str, Shape]:
    """What this kind of engine answers to each of ``ASKS`` and of a session's legs."""
    found = {ask.name: (await _send(http, pair.decode, ask))[0] for ask in ASKS}
    return found | await _legs(http, pair)


async def _legs(http: aiohttp.ClientSession, pair: Pair) -> dict[str, Shape]:
    """A session of remote rounds: whole, streamed with the history, once more with spent parameters."""
    found: dict[str, Shape] = {}

    async def leg(name: str, url: str, tokens: int, params: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        body = {"prompt": list(range(33, 33 + tokens)), "kv_transfer_params": dict(params), **more}
        found[name], answer = await _send(http, url, _text(name, **body))
        return answer.handed or {}

    streamed = {"stream": True, "stream_options": _USAGE}
    handed = await leg("leg: prefill", pair.prefill, 80, BLANK, max_tokens=1)
    history = await leg("leg: decode, whole", pair.decode, 80, handed)
    handed = await leg("leg: prefill with history", pair.prefill, 120, {**history, **FLAGS}, max_tokens=1)
    history = await leg("leg: decode, streamed", pair.decode, 120, handed, **streamed)
    await leg("leg: decode with spent parameters", pair.decode, 120, handed, **streamed)
    return found


async def _send(http: aiohttp.ClientSession, url: str, ask: Ask) -> tuple[Shape, Answer]:
    content = json.dumps(ask.content).encode() if isinstance(ask.content, Mapping) else ask.content
    headers = {"Content-Type": "application/json"}
    sent = http.request(ask.method, url + ask.path, data=content, headers=headers, timeout=_PATIENCE)
    async with sent as answer:
        text = (await answer.read()).decode()
        read = read_answer(answer.status, text)
        return shape_of(answer.status, answer.headers, text, read.events), read
