"""The OpenAI-shaped bodies that engines take, without a server around them.

Bodies are read once, here, into a ``Request`` for the engine. Foreign fields are ignored, as real servers
do; what an engine adds of its own, transfer parameters or rooms, is read by its face.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from pdscale.emulator.refusals import Refused, bad, malformed
from pdscale.emulator.sequence import Request
from pdscale.emulator.tokens import Token, encode, encode_chat


class Kind(StrEnum):
    CHAT = "chat.completion"
    COMPLETION = "text_completion"
    NATIVE = "generate"  # SGLang's own


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
        where = str(error.pos) if raw else ""
        raise malformed(where, f"There was an error parsing the body: {error}") from None
    if not isinstance(body, dict):
        raise malformed("", "the body must be a JSON object")
    return body


def read_request(
    body: Mapping[str, Any], *, kind: Kind, name: str, served: Served, headers: Mapping[str, str]
) -> Asked:
    """Judge a body. ``name`` is that under which the engine will know the request."""
    model = body.get("model") or served.models[0]
    if model not in served.models:
        raise Refused(404, "NotFoundError", f"The model `{model}` does not exist.", "model")
    prompt = prompt_of(body, kind)
    if body.get("n") not in (None, 1):
        raise bad("n", f"n must be 1, got {body['n']!r}")
    options = _stream_options(body)
    return Asked(
        request=_request(body, prompt, name=name, served=served, headers=headers),
        kind=kind,
        model=model,
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        token_ids=bool(body.get("return_token_ids")),
    )


def _stream_options(body: Mapping[str, Any]) -> Mapping[str, Any]:
    options = body.get("stream_options") or {}
    if options and not body.get("stream"):
        raise bad("stream_options", "stream_options must be absent unless stream is true")
    return options if isinstance(options, Mapping) else {}


def prompt_of(body: Mapping[str, Any], kind: Kind) -> list[Token]:
    return _chat_prompt(body) if kind is Kind.CHAT else _completion_prompt(body)


def _chat_prompt(body: Mapping[str, Any]) -> list[Token]:
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise malformed("messages", "messages must be a list")
    if not messages:
        raise bad(None, "messages must have at least 1 message")
    return encode_chat([_message(number, message) for number, message in enumerate(messages)])


def _message(number: int, message: object) -> tuple[str, str]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise malformed(f"messages.{number}.role", "each message must be an object with a role")
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, Mapping))
        content = " ".join(text for text in texts if isinstance(text, str))
    if content is not None and not isinstance(content, str):
        raise malformed(f"messages.{number}", "a message's content must be text or a list of parts")
    return message["role"], content or ""


def _completion_prompt(body: Mapping[str, Any]) -> list[Token]:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]
    if isinstance(prompt, str):
        prompt = encode(prompt)
    if not isinstance(prompt, list) or not prompt:
        raise bad("prompt", "prompt must be text or a list of at least 1 token id")
    for number, token in enumerate(prompt):
        if not isinstance(token, int) or not 0 <= token < 2**32:
            raise malformed(f"prompt.{number}", "prompt's token ids must be numbers in 0..4294967295")
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
    most, least = room if asked is None else _whole(body, limit, least=1), _whole(body, "min_tokens", least=0)
    if least > most:
        raise bad(None, f"min_tokens must be at most max_tokens ({most}), got {least}")
    _judge_temperature(body)
    return Request(
        id=name,
        prompt=tuple(prompt),
        max_tokens=most,
        min_tokens=least,
        stops=not body.get("ignore_eos"),
        stop=_stop(body),
        priority=_priority(body, headers),
    )


def _whole(body: Mapping[str, Any], name: str, *, least: int) -> int:
    figure = body.get(name)
    if figure is None:
        return least
    if not isinstance(figure, int) or isinstance(figure, bool):
        raise malformed(name, f"{name} must be a whole number, got {figure!r}")
    if figure < least:
        raise bad(name, f"{name} must be a whole number of at least {least}, got {figure!r}")
    return figure


def _judge_temperature(body: Mapping[str, Any]) -> None:
    """This engine is greedy whatever the temperature; what no engine takes is refused nevertheless."""
    given = body.get("temperature")
    if given is not None and (not isinstance(given, int | float) or given < 0):
        raise bad("temperature", f"temperature must be at least 0, got {given!r}")


def _stop(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Texts that end the answer."""
    given = body.get("stop") or []
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) and text for text in texts):
        raise malformed("stop", f"stop must be text or a list of texts, got {given!r}")
    return tuple(texts)


def _priority(body: Mapping[str, Any], headers: Mapping[str, str]) -> int:
    given: Any = body.get("priority")
    if given is None:
        given = headers.get("X-Vllm-Priority", 0)
    try:
        return int(given)
    except (TypeError, ValueError):
        raise malformed("priority", f"priority must be a whole number, got {given!r}") from None
