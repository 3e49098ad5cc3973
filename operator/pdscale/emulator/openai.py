"""The OpenAI-shaped bodies that vLLM takes and gives, without a server around them.

Bodies are read once, here, into a ``Request`` for the engine and a ``Reply`` that knows how to spell
what comes back. Foreign fields are ignored, as the real server does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from pdscale.emulator.sequence import Finish, Request
from pdscale.emulator.tokens import Token, encode, encode_chat, spell
from pdscale.emulator.transfer import BadTransferParams, parse_params

DONE = b"data: [DONE]\n\n"


class Kind(StrEnum):
    CHAT = "chat.completion"
    COMPLETION = "text_completion"


class Refused(Exception):
    """An answer other than 200, with the body that clients of such servers expect."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param

    @property
    def body(self) -> bytes:
        return error_body(self.status, self.kind, str(self), self.param)


def error_body(status: int, kind: str, message: str, param: str | None = None) -> bytes:
    error = {"message": message, "type": kind, "param": param, "code": status}
    return orjson.dumps({"error": error})


@dataclass(frozen=True, slots=True)
class Served:
    """What the server offers: model names, the longest context, and optional details."""

    models: tuple[str, ...]
    max_model_len: int
    prompt_tokens_details: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A body that was understood: the engine's request and how the client wants its answer."""

    request: Request
    kind: Kind
    model: str
    stream: bool
    include_usage: bool
    token_ids: bool


def read_body(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Refused(400, "Bad Request", f"There was an error parsing the body: {error}") from None
    if not isinstance(body, dict):
        raise bad("body", "the body must be a JSON object")
    return body


def read_request(
    body: Mapping[str, Any], *, kind: Kind, name: str, served: Served, headers: Mapping[str, str]
) -> Asked:
    """Judge a body. ``name`` is that under which the engine will know the request."""
    model = body.get("model") or served.models[0]
    if model not in served.models:
        raise Refused(404, "NotFoundError", f"The model `{model}` does not exist.", "model")
    prompt = _chat_prompt(body) if kind is Kind.CHAT else _completion_prompt(body)
    if body.get("n") not in (None, 1):
        raise bad("n", f"n must be 1, got {body['n']!r}")
    options = body.get("stream_options") or {}
    return Asked(
        request=_request(body, prompt, name=name, served=served, headers=headers),
        kind=kind,
        model=model,
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        token_ids=bool(body.get("return_token_ids")),
    )


def bad(param: str | None, message: str) -> Refused:
    return Refused(400, "BadRequestError", message, param)


@dataclass(frozen=True, slots=True)
class Reply:
    """Spells answers to one request: events of a stream, or one body. ``created`` is a Unix time."""

    asked: Asked
    id: str
    created: int
    details: bool

    def whole(self, tokens: Sequence[Token], finish: Finish, cached: int, params: object) -> bytes:
        text = _text(tokens)
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": str(finish)}
        if self.asked.kind is Kind.CHAT:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        body = self._envelope(str(self.asked.kind), [choice])
        if self.asked.token_ids:
            choice["token_ids"] = list(tokens)
            holder = body if self.asked.kind is Kind.CHAT else choice
            holder["prompt_token_ids"] = list(self.asked.request.prompt)
        body["usage"] = self._usage(len(tokens), cached)
        body["kv_transfer_params"] = params
        return orjson.dumps(body)

    def opening(self) -> bytes:
        """A chat stream begins with the role."""
        if self.asked.kind is not Kind.CHAT:
            return b""
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
        body = self._envelope(self._event_object, [{**choice, "finish_reason": None}])
        if self.asked.token_ids:
            body["prompt_token_ids"] = list(self.asked.request.prompt)
        return _event(body)

    def token(
        self, token: Token, *, first: bool, finish: Finish | None = None, params: object = None
    ) -> bytes:
        """One generated token. The last one also says why it is the last, and where the KV is."""
        text = spell(token) if first or not spell(token) else " " + spell(token)
        choice: dict[str, Any] = {"index": 0}
        if self.asked.kind is Kind.CHAT:
            choice["delta"] = {"content": text}
        else:
            choice["text"] = text
        choice |= {"logprobs": None, "finish_reason": str(finish) if finish else None}
        if self.asked.token_ids:
            choice["token_ids"] = [token]
        body = self._envelope(self._event_object, [choice])
        if params is not None:
            body["kv_transfer_params"] = params
        return _event(body)

    def closing(self, generated: int, cached: int) -> bytes:
        """What follows the last token of a stream."""
        if not self.asked.include_usage:
            return DONE
        body = self._envelope(self._event_object, [])
        body["usage"] = self._usage(generated, cached)
        return _event(body) + DONE

    @property
    def _event_object(self) -> str:
        return "chat.completion.chunk" if self.asked.kind is Kind.CHAT else "text_completion"

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.asked.model,
            "choices": choices,
        }

    def _usage(self, generated: int, cached: int) -> dict[str, Any]:
        prompt = len(self.asked.request.prompt)
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + generated,
            "completion_tokens": generated,
            "prompt_tokens_details": {"cached_tokens": cached} if self.details else None,
        }


def _event(body: object) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _text(tokens: Sequence[Token]) -> str:
    return " ".join(filter(None, map(spell, tokens)))


def _chat_prompt(body: Mapping[str, Any]) -> list[Token]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad("messages", "messages must be a list of at least 1 message")
    return encode_chat([_message(message) for message in messages])


def _message(message: object) -> tuple[str, str]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise bad("messages", "each message must be an object with a role")
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, Mapping))
        content = " ".join(text for text in texts if isinstance(text, str))
    if content is not None and not isinstance(content, str):
        raise bad("messages", "a message's content must be text or a list of parts")
    return message["role"], content or ""


def _completion_prompt(body: Mapping[str, Any]) -> list[Token]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, str):
        prompt = encode(prompt)
    if not isinstance(prompt, list) or not prompt:
        raise bad("prompt", "prompt must be text or a list of at least 1 token id")
    if not all(isinstance(t, int) and 0 <= t < 2**32 for t in prompt):
        raise bad("prompt", "prompt's token ids must be numbers in 0..4294967295")
    return prompt


def _request(
    body: Mapping[str, Any],
    prompt: list[Token],
    *,
    name: str,
    served: Served,
    headers: Mapping[str, str],
) -> Request:
    room = served.max_model_len - len(prompt)
    limit = "max_tokens" if body.get("max_completion_tokens") is None else "max_completion_tokens"
    asked = body.get(limit)
    if room < 1 or (isinstance(asked, int) and asked > room):
        raise bad(
            "input_tokens" if room < 1 else limit,
            f"This model's maximum context length is {served.max_model_len} tokens. However, you "
            f"requested {asked or 1} output tokens and your prompt contains {len(prompt)} input "
            f"tokens.",
        )
    try:
        params = parse_params(body.get("kv_transfer_params"))
    except BadTransferParams as error:
        raise bad("kv_transfer_params", str(error)) from error
    return Request(
        id=name,
        prompt=tuple(prompt),
        max_tokens=room if asked is None else _whole(body, limit, least=1),
        min_tokens=_whole(body, "min_tokens", least=0),
        stops=not body.get("ignore_eos"),
        priority=_priority(body, headers),
        params=params,
    )


def _whole(body: Mapping[str, Any], name: str, *, least: int) -> int:
    figure = body.get(name)
    if figure is None:
        return least
    if not isinstance(figure, int) or isinstance(figure, bool) or figure < least:
        raise bad(name, f"{name} must be a whole number of at least {least}, got {figure!r}")
    return figure


def _priority(body: Mapping[str, Any], headers: Mapping[str, str]) -> int:
    given: Any = body.get("priority")
    if given is None:
        given = headers.get("X-Vllm-Priority", 0)
    try:
        return int(given)
    except (TypeError, ValueError):
        raise bad("priority", f"priority must be a whole number, got {given!r}") from None
