"""A client's request, read once: session, cleaned body, and whether the router has to ask for usage itself.

Bytes stay as the client sent them unless something must be taken out or put in.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from pdscale.engines.answers import asking_for_usage, wants_usage
from pdscale.engines.hygiene import clean_body, client_headers, needs_cleaning
from pdscale.model.units import Seconds

SESSION_HEADER: Final = "X-Session-ID"
LEG_HEADER: Final = "x-pdscale-leg"
TOKENS_HEADER: Final = "x-pdscale-uncached-tokens"
REFUSED_HEADER: Final = "x-pdscale-refused"
PREFILL_LEG: Final = "prefill"

_ROUND_PATHS: Final = ("/v1/chat/completions", "/v1/completions")
_SESSION_FIELDS: Final = ("session_id", "conversation_id")
_ONCE: Final = "once-"
_LONGEST_SESSION: Final = 256


@dataclass(frozen=True, slots=True)
class Inbound:
    """``body`` is the parsed JSON of a generation request, absent for anything that is merely passed on."""

    method: str
    path: str
    target: str
    headers: tuple[tuple[str, str], ...]
    content: bytes
    received_bytes: int
    body: dict[str, Any] | None
    session: str
    hide_usage: bool
    arrived: Seconds

    @property
    def once(self) -> bool:
        """Nobody can come back to a session that was never named: nothing of it is worth keeping."""
        return self.session.startswith(_ONCE)


def read_request(request: web.BaseRequest, content: bytes, *, now: Seconds) -> Inbound:
    parsed = _json_object(content) if request.method == "POST" else None
    session = _session(request.headers, parsed or {})
    headers = [
        (n, v) for n, v in client_headers(request.headers.items()) if n.lower() != SESSION_HEADER.lower()
    ]
    body, hide, sent = parsed, False, content
    if parsed is not None:
        body = clean_body(parsed) if needs_cleaning(parsed) else parsed
        if request.path in _ROUND_PATHS and body.get("stream") and not wants_usage(body):
            body, hide = asking_for_usage(body), True
        sent = content if body is parsed else orjson.dumps(body)
    return Inbound(
        method=request.method,
        path=request.path,
        target=request.path_qs,
        headers=(*headers, (SESSION_HEADER, session)),
        content=sent,
        received_bytes=len(content),
        body=body if request.path in _ROUND_PATHS else None,
        session=session,
        hide_usage=hide,
        arrived=now,
    )


def _json_object(content: bytes) -> dict[str, Any] | None:
    """The engine is the one to complain about what is not JSON."""
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _session(headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    named = headers.get(SESSION_HEADER) or next(
        (body[k] for k in _SESSION_FIELDS if isinstance(body.get(k), str | int) and body[k]), None
    )
    if named is None:
        return _ONCE + uuid.uuid4().hex
    return _as_header(str(named))


def _as_header(name: str) -> str:
    """What cannot be a header value is replaced by its digest: same name, same session."""
    if len(name) <= _LONGEST_SESSION and name.isascii() and name.isprintable():
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
