"""Requests out of bytes: llhttp's callbacks, the limits, and what is refused beyond its own strictness.

llhttp refuses two lengths, a length beside chunks, folded lines, bare line ends and odd tokens. Refused
here as well: codings other than ``chunked``, versions other than 1.0 and 1.1, and a missing or repeated
``Host``. An offer to upgrade is declined by reading the request as if there were none (some clients
offer HTTP/2 with their first request, body and all).
"""

from typing import Final, Protocol

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from pdscale.router.wire.errors import BadRequest
from pdscale.router.wire.request import Guard, Head, Headers, Limits, Request

_OFFER: Final = (b"connection", b"upgrade", b"http2-settings")
_LINE: Final = 4  # bytes of a header line beside name and value
_LENGTHS: Final = frozenset(map(len, (b"host", b"content-length", b"transfer-encoding", b"expect")))


class Listener(Protocol):
    def head_complete(self, *, expects: bool) -> None: ...

    def request_complete(self, request: Request) -> None: ...


class Parsing:
    """``in_head``: the next byte belongs to a head; ``begun``: of a request some bytes are here."""

    __deletable__ = ("_listener", "_parser")  # for who compiles this (mypyc): ``close`` needs it

    def __init__(self, listener: Listener, limits: Limits, guard: Guard) -> None:
        self._listener, self._limits, self._guard = listener, limits, guard
        self._parser = HttpRequestParser(self)
        self._refusal: BadRequest | None = None
        self._requests = self._unended = 0
        self._declining = self._long = False
        self._headers: Headers = []
        self._head: Head | None = None
        self._reset()

    def feed(self, data: bytes) -> None:
        """Raises ``BadRequest``; nothing more may be fed after that."""
        requests = self._requests
        self._long = self._unended + len(data) > self._limits.head
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as offer:
            self._decline(data[offer.args[0] :])
        except HttpParserCallbackError:
            if self._refusal is None:
                raise
            raise self._refusal from None
        except HttpParserError as error:
            raise BadRequest(400, f"the request is not well-formed: {error}") from error
        if self.in_head:
            # A header without an end is with the parser, uncounted by the callbacks.
            self._unended = self._unended + len(data) if requests == self._requests else 0
            if self._unended > self._limits.head:
                raise self._too_large()

    @property
    def begun(self) -> bool:
        return not self.in_head or bool(self._url) or self._unended > 0

    def close(self) -> None:
        """Parser and callbacks refer to each other; connections should not wait for the collector."""
        del self._parser, self._listener

    # ---- called by the parser

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.in_head, self._unended = False, 0
        parser = self._parser
        if parser.should_upgrade() and parser.get_method() != b"CONNECT":
            self._declining = True
            return
        head = Head(
            parser.get_method().decode(),
            self._url,
            parser.get_http_version(),
            self._headers,
            keep_alive=parser.should_keep_alive(),
        )
        self._headers = []  # trailers may not change what the head said
        self._head = head
        try:
            expects = self._judge(head)
            self._guard(head)
        except BadRequest as refusal:
            self._refusal = refusal
            raise
        self._listener.head_complete(expects=expects)

    def on_body(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limits.body:
            self._refuse(self._body_too_large())
        self._body.append(piece)

    def on_message_complete(self) -> None:
        if self._declining:
            return
        body, head = self._body, self._head
        if head is None:
            raise RuntimeError("a request without a head")
        request = Request(head, body[0] if len(body) == 1 else b"".join(body))
        self._requests += 1
        self._reset()
        self._listener.request_complete(request)

    # ----

    def _reset(self) -> None:
        self.in_head = True
        self._url = b""
        self._headers = []
        self._head = None
        self._body: list[bytes] = []
        self._size = 0

    def _judge(self, head: Head) -> bool:
        """Whether the client waits for a word before it sends the body."""
        hosts, expects = 0, False
        for key, value in head.headers:
            if len(key) not in _LENGTHS:
                continue
            name = key.lower()
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                if int(value) > self._limits.body:
                    raise self._body_too_large()
            elif name == b"transfer-encoding":
                if value.strip().lower() != b"chunked" or head.version != "1.1":
                    raise BadRequest(400, "transfer-encoding must be chunked, and sent with HTTP/1.1")
            elif name == b"expect":
                expects = value.strip().lower() == b"100-continue"
        if self._long and _size_of(head) > self._limits.head:
            raise self._too_large()
        if head.version not in ("1.1", "1.0"):
            raise BadRequest(400, f"version must be HTTP/1.1 or HTTP/1.0, got {head.version}")
        if hosts != 1 and (hosts or head.version == "1.1"):
            raise BadRequest(400, f"a request must have one host header, got {hosts}")
        return expects and head.version == "1.1"

    def _decline(self, rest: bytes) -> None:
        """Read the same request once more, without the offer."""
        method, url, headers = self._parser.get_method(), self._url, self._headers
        lines = [b"%b: %b\r\n" % (n, v) for n, v in headers if n.lower() not in _OFFER]
        self._declining, self._parser = False, HttpRequestParser(self)
        self._reset()
        self.feed(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, url, b"".join(lines), rest))

    def _refuse(self, refusal: BadRequest) -> None:
        """The parser hides what its callbacks raise, so it is kept."""
        self._refusal = refusal
        raise refusal

    def _too_large(self) -> BadRequest:
        return BadRequest(431, f"the head of a request must be at most {self._limits.head} bytes")

    def _body_too_large(self) -> BadRequest:
        return BadRequest(413, f"the body of a request must be at most {self._limits.body} bytes")


def _size_of(head: Head) -> int:
    return len(head.target) + sum(len(key) + len(value) + _LINE for key, value in head.headers)
