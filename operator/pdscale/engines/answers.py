"""What the router reads from answers, and what it takes out of them before a client sees them.

Only events that mention usage or transfer parameters are parsed; all others pass as the bytes they
are. A text inside JSON cannot look like a key, because its quotes are escaped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

_PARAMS: Final = b'"kv_transfer_params"'
_USAGE: Final = b'"usage"'
_ERROR: Final = b'data: {"error"'
_DATA: Final = b"data: "
_ERROR_LATER: Final = b"\n" + _ERROR
_DONE: Final = b"data: [DONE]"
_DONE_LATER: Final = b"\n" + _DONE
_LARGEST_EVENT: Final = 16 * 1024 * 1024


class Usage(NamedTuple):
    """Token counts as the engine gave them; ``cached`` is absent if it does not report prefix hits."""

    prompt: int
    completion: int
    cached: int | None = None


def usage_of(answer: Mapping[str, Any]) -> Usage | None:
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(prompt, completion, cached if isinstance(cached, int) else None)


class Reading(NamedTuple):
    """An unstreamed answer: what it says, and the bytes for the client."""

    content: bytes
    usage: Usage | None = None
    params: Mapping[str, Any] | None = None


def read_json(content: bytes) -> Reading:
    """Bytes stay as they are unless transfer parameters have to be taken out."""
    if _USAGE not in content and _PARAMS not in content:
        return Reading(content)
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return Reading(content)
    if not isinstance(answer, dict):
        return Reading(content)
    usage = usage_of(answer)
    if "kv_transfer_params" not in answer:
        return Reading(content, usage)
    params = answer.pop("kv_transfer_params")
    return Reading(orjson.dumps(answer), usage, params if isinstance(params, dict) and params else None)


@dataclass(slots=True)
class StreamReader:
    """Server-sent events of one answer: ``feed`` bytes, get the bytes for the client.

    An incomplete event is held back until the rest of it arrives. ``events`` counts those that carry tokens,
    roughly: one for each the engine sent.
    """

    hide_usage: bool = False
    usage: Usage | None = None
    params: Mapping[str, Any] | None = None
    events: int = 0
    done: bool = False
    failed: bool = False
    _rest: bytes = field(default=b"")

    def feed(self, chunk: bytes) -> bytes:
        if not self._rest and chunk.endswith(b"\n\n") and _PARAMS not in chunk and _USAGE not in chunk:
            self._count(chunk)  # whole events that pass as they are, as most do
            return chunk
        chunk = self._rest + chunk if self._rest else chunk
        end = _end_of_events(chunk)
        self._rest, chunk = chunk[end:], chunk[:end]
        if len(self._rest) > _LARGEST_EVENT:
            chunk, self._rest = chunk + self._rest, b""
        if not chunk:
            return b""
        if _PARAMS not in chunk and _USAGE not in chunk:
            self._count(chunk)
            return chunk
        self._note(chunk)
        return b"".join(self._event(event) for event in _split(chunk))

    def flush(self) -> bytes:
        """What never became a whole event."""
        rest, self._rest = self._rest, b""
        return rest

    def _count(self, chunk: bytes) -> None:
        if chunk.find(b"\n") == len(chunk) - 2:  # one event of one line: two looks instead of seven
            self.events += 1
            if chunk.startswith(_DONE):
                self.done = True
            elif chunk.startswith(_ERROR):
                self.failed = True
        else:
            self.events += chunk.count(b"\n\n") or 1
            self._note(chunk)

    def _note(self, chunk: bytes) -> None:
        if chunk.startswith(_DONE) or _DONE_LATER in chunk:
            self.done = True
        if chunk.startswith(_ERROR) or _ERROR_LATER in chunk:
            self.failed = True

    def _event(self, event: bytes) -> bytes:
        self.events += 1
        if (_PARAMS not in event and _USAGE not in event) or not event.startswith(b"data:"):
            return event
        try:
            answer = orjson.loads(event[len(b"data:") :])
        except orjson.JSONDecodeError:
            return event
        if not isinstance(answer, dict):
            return event
        self.usage = usage_of(answer) or self.usage
        if self.hide_usage and not answer.get("choices") and "usage" in answer:
            return b""
        if "kv_transfer_params" not in answer:
            return event
        params = answer.pop("kv_transfer_params")
        if isinstance(params, dict) and params:
            self.params = params
        return b"data: " + orjson.dumps(answer) + b"\n\n"


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """An error that came where a stream's events were expected: its code, and its body as of an answer."""

    code: int
    content: bytes


def error_event(stream: bytes) -> ErrorEvent | None:
    """The first one that is there. Engines that have sent their head can say it no other way."""
    start = 0 if stream.startswith(_ERROR) else stream.find(b"\n" + _ERROR) + 1
    if not stream.startswith(_ERROR, start):
        return None
    content = stream[start + len(_DATA) :].partition(b"\n")[0].rstrip()
    try:
        code = orjson.loads(content)["error"]["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        code = None
    known = isinstance(code, int) and 400 <= code <= 599
    return ErrorEvent(code if known else 500, content)


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether the client itself asked for the usage event."""
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def asking_for_usage(body: Mapping[str, Any]) -> dict[str, Any]:
    options = body.get("stream_options")
    options = options if isinstance(options, dict) else {}
    return {**body, "stream_options": {**options, "include_usage": True}}


def error_body(message: str, *, kind: str, status: int) -> bytes:
    """An error in the form that OpenAI-compatible engines give it."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": status}})


def _end_of_events(chunk: bytes) -> int:
    plain = chunk.rfind(b"\n\n")
    windows = chunk.rfind(b"\r\n\r\n")
    return max(plain + 2 if plain >= 0 else 0, windows + 4 if windows >= 0 else 0)


def _split(chunk: bytes) -> list[bytes]:
    """Whole events, each with its blank line."""
    separator = b"\n\n" if b"\n\n" in chunk else b"\r\n\r\n"
    *events, rest = chunk.split(separator)
    whole = [event + separator for event in events]
    return [*whole, rest] if rest else whole
