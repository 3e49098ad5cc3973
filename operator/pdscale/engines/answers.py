"""What the router reads from answers, and what it takes out of them before a client sees them.

Only events that mention usage or transfer parameters are parsed; all others pass as the bytes they
are. A text inside JSON cannot look like a key, because its quotes are escaped.

vLLM 0.33 writes ``"kv_transfer_params":null`` into every event of a stream. These bytes are cut out as they
are: after a comma and unescaped, they can be nothing but that field.

Each token passes here, and so ``partition`` does what ``in`` would do in twice the work: CPython first takes
what is looked for in bytes for a number, and forms an error that nobody sees.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

_KV: Final = "kv_transfer_params"
_EC: Final = "ec_transfer_params"
_ANY_PARAMS: Final = b'_transfer_params"'  # both of them, by one look
_NO_PARAMS: Final = b',"kv_transfer_params":null'
_USAGE: Final = b'"usage"'
_ERROR: Final = b'data: {"error"'
_DATA: Final = b"data: "
_NEWLINE: Final = 10
_ERROR_LATER: Final = b"\n" + _ERROR
_DONE: Final = b"data: [DONE]"
_WORD: Final = len(_DONE)
_LAST_WORDS: Final = frozenset((_DONE, _ERROR[:_WORD]))
_DONE_LATER: Final = b"\n" + _DONE
_EVENTS: Final = re.compile(rb".*?(?:\r\n\r\n|\n\n)|.+", re.DOTALL)
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
    if not _mentions(content):
        return Reading(content)
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return Reading(content)
    if not isinstance(answer, dict):
        return Reading(content)
    usage = usage_of(answer)
    if _KV not in answer and _EC not in answer:
        return Reading(content, usage)
    params = _taken_out(answer)
    return Reading(orjson.dumps(answer), usage, params)


def handed_out(content: bytes) -> Mapping[str, Any] | None:
    """The transfer parameters of an answer that no client gets."""
    try:
        answer = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return _taken_out(answer) if isinstance(answer, dict) else None


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
        chunk = chunk.replace(_NO_PARAMS, b"")
        plain = not (chunk.partition(_USAGE)[1] or chunk.partition(_ANY_PARAMS)[1])
        if plain and not self._rest and chunk[-2:] == b"\n\n":
            # Whole events that pass as they are, as most do; mostly it is one, of one line, with a token.
            if chunk.partition(b"\n")[2] == b"\n" and chunk[:_WORD] not in _LAST_WORDS:
                self.events += 1
            else:
                self._count(chunk)
            return chunk
        chunk = self._rest + chunk if self._rest else chunk
        end = _end_of_events(chunk)
        self._rest, chunk = chunk[end:], chunk[:end]
        if len(self._rest) > _LARGEST_EVENT:
            chunk, self._rest = chunk + self._rest, b""
        if not chunk:
            return b""
        if not _mentions(chunk):
            self._count(chunk)
            return chunk
        self._note(chunk)
        return b"".join(self._event(event) for event in _split(chunk))

    def passes(self, framed: bytes, start: int) -> bool:
        """Whether what begins at ``start`` and ends two bytes before the end is one event of one line, with a
        token and with nothing to be read or taken out. It is counted then, and is the client's as it is."""
        if (
            framed.find(b"\n", start) != len(framed) - 4
            or framed[-3] != _NEWLINE
            or framed.partition(_USAGE)[1]
            or framed.partition(_ANY_PARAMS)[1]
            or framed[start : start + _WORD] in _LAST_WORDS
            or self._rest
        ):
            return False
        self.events += 1
        return True

    def flush(self) -> bytes:
        """What never became a whole event."""
        rest, self._rest = self._rest, b""
        return rest

    def _count(self, chunk: bytes) -> None:
        self.events += chunk.count(b"\n\n") or 1
        self._note(chunk)

    def _note(self, chunk: bytes) -> None:
        if chunk.startswith(_DONE) or _DONE_LATER in chunk:
            self.done = True
        if chunk.startswith(_ERROR) or _ERROR_LATER in chunk:
            self.failed = True

    def _event(self, event: bytes) -> bytes:
        self.events += 1
        if not _mentions(event) or not event.startswith(b"data:"):
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
        if _KV not in answer and _EC not in answer:
            return event
        self.params = _taken_out(answer) or self.params
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


def _taken_out(answer: dict[str, Any]) -> Mapping[str, Any] | None:
    """No transfer parameters are left in it; those for KV are returned, if they say anything."""
    params = answer.pop(_KV, None)
    answer.pop(_EC, None)
    return params if isinstance(params, dict) and params else None


def _mentions(content: bytes) -> bool:
    """Whether there is anything to be read from it, or taken out."""
    return bool(content.partition(_USAGE)[1] or content.partition(_ANY_PARAMS)[1])


def _end_of_events(chunk: bytes) -> int:
    plain = chunk.rfind(b"\n\n")
    windows = chunk.rfind(b"\r\n\r\n")
    return max(plain + 2 if plain >= 0 else 0, windows + 4 if windows >= 0 else 0)


def _split(chunk: bytes) -> list[bytes]:
    """Whole events, each with its blank line, of whichever kind."""
    return _EVENTS.findall(chunk)
