"""Spells answers as vLLM does, and SGLang much like it: events of a stream, or one body.

A text that ends an answer is not shown. In a stream words that came before are out by then; the real server
holds such beginnings back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from pdscale.emulator import vllm_fields as v
from pdscale.emulator.openai import Asked, Kind
from pdscale.emulator.sequence import Finish
from pdscale.emulator.tokens import Token, spell, words

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class End:
    """The last token's news. ``stopped_by`` is the client's text that ended the answer, if one did."""

    finish: Finish
    cached: int
    stopped_by: str | None = None
    params: Mapping[str, Any] | None = None


class Spelling(Protocol):
    """One request's answer, in one piece or event by event."""

    def whole(self, tokens: Sequence[Token], end: End) -> bytes: ...

    def opening(self) -> bytes: ...

    def token(self, token: Token, *, first: bool, end: End | None = None) -> bytes:
        """One generated token. The last one also says why it is the last, and where the KV is."""

    def closing(self, generated: int, cached: int) -> bytes:
        """What follows the last token of a stream."""


@dataclass(frozen=True, slots=True)
class Reply:
    """``created`` is a Unix time; ``details`` says prefix hits; ``hands_out`` transfer parameters, and
    all that vLLM writes beside.

    ``stop_field`` is the engine's name for the client's text that ended the answer.
    """

    asked: Asked
    id: str
    created: int
    details: bool
    hands_out: bool = True
    stop_field: str = "stop_reason"

    def whole(self, tokens: Sequence[Token], end: End) -> bytes:
        text = shown(tokens, end)
        choice: dict[str, Any] = {"index": 0, "logprobs": None, **self._reason(end)}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text, **self._also(v.MESSAGE)}
        else:
            choice["text"] = text
        choice |= self._also(v.CHAT_CHOICE if self._chat else v.TEXT_CHOICE)
        body = self._envelope(str(self.asked.kind), [choice]) | self._also(v.BODY)
        body["usage"] = self._usage(len(tokens), end.cached, stream=False)
        body |= self._also(v.CHAT_BODY if self._chat else {})
        if self.asked.token_ids:
            choice["token_ids"] = list(tokens)
            holder = body if self._chat else choice
            holder["prompt_token_ids"] = list(self.asked.request.prompt)
        if self.hands_out:
            body |= {"kv_transfer_params": end.params, **v.BODY_END}
        return orjson.dumps(body)

    def opening(self) -> bytes:
        """A chat stream begins with the role."""
        if not self._chat:
            return b""
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
        body = self._envelope(self._event_object, [{**choice, "finish_reason": None}])
        body |= self._also(v.CHAT_OPENING)
        if self.asked.token_ids:
            body["prompt_token_ids"] = list(self.asked.request.prompt)
        return event(body)

    def token(self, token: Token, *, first: bool, end: End | None = None) -> bytes:
        text = spell(token) if first or not spell(token) else " " + spell(token)
        if end is not None and end.stopped_by is not None:
            text = ""
        choice: dict[str, Any] = {"index": 0}
        if self._chat:
            choice["delta"] = {"content": text}
            choice |= self._also(v.CHAT_EVENT if end is None else v.CHAT_LAST_EVENT)
        else:
            choice["text"] = text
            choice |= self._also(v.TEXT_EVENT)
        choice["logprobs"] = None
        choice |= {"finish_reason": None} if end is None else self._reason(end)
        if self.asked.token_ids:
            choice["token_ids"] = [token]
            if first and not self._chat:
                choice["prompt_token_ids"] = list(self.asked.request.prompt)
        body = self._envelope(self._event_object, [choice])
        if self.hands_out:
            body["kv_transfer_params"] = None if end is None else end.params
            if end is not None and not self.asked.include_usage:
                body["system_fingerprint"] = v.FINGERPRINT
        return event(body)

    def closing(self, generated: int, cached: int) -> bytes:
        if not self.asked.include_usage:
            return DONE
        body = self._envelope(self._event_object, [])
        body["usage"] = self._usage(generated, cached, stream=True)
        if self.hands_out:
            body["system_fingerprint"] = v.FINGERPRINT
        return event(body) + DONE

    @property
    def _chat(self) -> bool:
        return self.asked.kind is Kind.CHAT

    def _also(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What only vLLM writes."""
        return dict(fields) if self.hands_out else {}

    @property
    def _event_object(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.asked.model,
            "choices": choices,
        }

    def _reason(self, end: End) -> dict[str, Any]:
        return {"finish_reason": str(end.finish), self.stop_field: end.stopped_by}

    def _usage(self, generated: int, cached: int, *, stream: bool) -> dict[str, Any]:
        prompt = len(self.asked.request.prompt)
        found: dict[str, Any] = {
            "prompt_tokens": prompt,
            "total_tokens": prompt + generated,
            "completion_tokens": generated,
            "prompt_tokens_details": self._details(cached, stream=stream) if self.details else None,
        }
        if self.hands_out and not stream:
            found["completion_tokens_details"] = None
        return found

    def _details(self, cached: int, *, stream: bool) -> dict[str, Any]:
        if not self.hands_out:
            return {"cached_tokens": cached}
        return v.usage_details(cached, chat=self._chat, stream=stream)


def event(body: object) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def shown(tokens: Sequence[Token], end: End | None) -> str:
    """The text up to what ended it."""
    text = words(tokens)
    if end is None or end.stopped_by is None:
        return text
    return text[: text.rfind(end.stopped_by)].rstrip()
