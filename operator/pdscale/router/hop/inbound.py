"""A client's request, read once: session, cleaned body, and whether the router has to ask for usage itself.

Bytes stay as the client sent them unless something must be taken out; what is put in is spliced in.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import orjson

from pdscale.engines.answers import asking_for_usage, wants_usage
from pdscale.engines.errors import UnreadableBody
from pdscale.engines.hygiene import clean_body, client_headers, json_object, needs_cleaning
from pdscale.engines.splice import splice
from pdscale.model.units import Seconds
from pdscale.placement.identity import PrefixSessions
from pdscale.router.wire.request import Head, Request

SESSION_HEADER: Final = "X-Session-ID"
PREFILLER_HEADER: Final = "x-prefiller-host-port"
LEG_HEADER: Final = "x-pdscale-leg"
TOKENS_HEADER: Final = "x-pdscale-uncached-tokens"
HISTORY_HEADER: Final = "x-pdscale-history-tokens"
REFUSED_HEADER: Final = "x-pdscale-refused"
ENGINE_DOWN: Final = "EngineDown"  # a refusal: the engine takes no connection, so it had nothing of it
PREFILL_LEG: Final = "prefill"

_ROUND_PATHS: Final = (b"/v1/chat/completions", b"/v1/completions")
_SESSION_FIELDS: Final = ("session_id", "conversation_id")
_ASKING: Final = {"stream_options": {"include_usage": True}}
# What requests mostly consist of; a body of these only needs no closer look.
_HARMLESS: Final = frozenset(
    (
        *("model", "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens"),
        *("temperature", "top_p", "top_k", "stop", "seed", "user", "tools", "tool_choice", "n"),
        *("response_format", "frequency_penalty", "presence_penalty", "session_id", "conversation_id"),
    )
)
_ONCE: Final = "once-"
RECOGNISED: Final = "auto-"  # begins the names of sessions that the router has made out itself
_OURS: Final = f"{_ONCE}{os.urandom(8).hex()}-"
_LONGEST_SESSION: Final = 256
_unnamed = count()
# Clients use a few names in a few spellings. A table costs half of ``lru_cache``, and is full when full.
_starts: Final[dict[bytes, bytes]] = {}
_MOST_STARTS: Final = 1024
_SESSION: Final = SESSION_HEADER.lower().encode()
_PREFILLER: Final = PREFILLER_HEADER.lower().encode()
_ENDS_HERE: Final = {line.decode(): line for line in (_SESSION, _PREFILLER)}


@dataclass(slots=True)
class Inbound:
    """``body`` is the parsed JSON of a generation request, absent for anything that is merely passed on.

    ``headers`` are the lines that go on, the session's among them. ``prefiller`` is what
    ``x-prefiller-host-port`` says: it goes no further, and whether it counts is not judged here.
    """

    method: str
    path: str
    target: bytes
    headers: bytes
    content: bytes
    received_bytes: int
    body: dict[str, Any] | None
    session: str
    once: bool  # nobody can come back to a session that was never named: nothing of it is worth keeping
    hide_usage: bool
    arrived: Seconds
    prefiller: bytes = b""


def read_request(request: Request, *, now: Seconds, chats: PrefixSessions | None = None) -> Inbound:
    """Raises ``UnreadableBody`` for what an engine may read and the router cannot.

    ``chats`` name the sessions of clients that do not.
    """
    head, content = request.head, request.content
    is_round = head.path in _ROUND_PATHS and head.method == "POST"
    parsed = _body(head, content, is_round=is_round)
    lines, named, prefiller = _headers(head)
    session = _named(named, parsed or {})
    if session is None and chats is not None and is_round and parsed is not None:
        session = _recognised(chats, head, parsed)
    if session is None:
        session = f"{_OURS}{next(_unnamed):x}"
    lines.append(b"X-Session-ID: %b\r\n" % session.encode())
    body, hide, sent = parsed, False, content
    if body is not None:
        if not _HARMLESS.issuperset(body) and needs_cleaning(body):
            body = clean_body(body)
            sent = orjson.dumps(body)
        if is_round and body.get("stream") and not wants_usage(body):
            hide = True
            sent = orjson.dumps(asking_for_usage(body)) if "stream_options" in body else splice(sent, _ASKING)
            body = asking_for_usage(body)
    return Inbound(
        method=head.method,
        path=head.path.decode("latin-1"),
        target=head.target,
        headers=b"".join(lines),
        content=sent,
        received_bytes=len(content),
        body=body if is_round else None,
        session=session,
        once=session.startswith(_ONCE),
        hide_usage=hide,
        arrived=now,
        prefiller=prefiller,
    )


def _body(head: Head, content: bytes, *, is_round: bool) -> dict[str, Any] | None:
    """Forms and files are not JSON and pass; whatever an engine may take for JSON has to be read here."""
    if is_round:
        return json_object(content)
    if head.method != "POST" or not content:
        return None
    try:
        return json_object(content)
    except UnreadableBody:
        kind = (head.value(b"content-type") or b"json").lower()
        if b"json" in kind:
            raise
        return None


def _headers(head: Head) -> tuple[list[bytes], bytes | None, bytes]:
    """Lines that go on, the session's name, and the prefill replica's."""
    lines: list[bytes] = []
    named, prefiller = None, b""
    for name, value in head.headers:
        start = _starts.get(name)
        if start is None:
            start = _start(name)
        if not start:
            continue
        if start is _SESSION:
            named = value.strip() if named is None else named
        elif start is _PREFILLER:
            prefiller = prefiller or value.strip()
        else:
            lines += (start, value, b"\r\n")
    return lines, named, prefiller


def _start(name: bytes) -> bytes:
    """How the line of a header begins that goes on; nothing if it does not, or which one is read here."""
    text = name.decode("latin-1")
    start = _ENDS_HERE.get(text.lower())
    if start is None:
        start = name + b": " if any(client_headers([(text, "")])) else b""
    if len(_starts) < _MOST_STARTS:
        _starts[name] = start
    return start


def _named(header: bytes | None, body: Mapping[str, Any]) -> str | None:
    if header:
        return _as_header(header.decode("utf-8", "surrogateescape"))
    for field in _SESSION_FIELDS:
        name = body.get(field)
        if name and isinstance(name, str | int):
            return _as_header(str(name))
    return None


def _recognised(chats: PrefixSessions, head: Head, body: Mapping[str, Any]) -> str | None:
    """By what was said before, among the requests with the same credentials."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    return chats.session_of(messages, (head.value(b"authorization") or b"").decode("latin-1"))


def _as_header(name: str) -> str:
    """What cannot be a header value is replaced by its digest: same name, same session."""
    if len(name) <= _LONGEST_SESSION and name.isascii() and name.isprintable():
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
