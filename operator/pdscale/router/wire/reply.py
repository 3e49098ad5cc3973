"""The answer to one request, written by hand: nothing here waits.

A stream's head is sent together with its first piece. Whoever feeds a stream is throttled while the
client does not take what it was sent.
"""

import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

_BODILESS = (204, 304)


class Sender(Protocol):
    """The client's connection."""

    @property
    def send(self) -> Callable[[bytes], None]:
        """Another one once the client is gone."""

    def answered(self, *, close: bool) -> None: ...

    @property
    def ends(self) -> bool:
        """Whether the connection ends with this answer."""

    def throttle(self, pause: Callable[[], None], resume: Callable[[], None]) -> None: ...

    def unthrottle(self) -> None: ...


class Reply:
    """``status`` is 0 until a head was begun; ``ended`` once the client has (or will get) all of it."""

    __slots__ = ("_chunked", "_close", "_first", "_head_only", "_old", "ended", "sender", "status")

    def __init__(self, sender: Sender, *, method: str, version: str) -> None:
        self.sender = sender
        self._head_only = method == "HEAD"
        self._old = version != "1.1"
        self._first = b""
        self._chunked = self._close = self.ended = False
        self.status = 0

    def begin(self, status: int, lines: bytes) -> None:
        """A stream's head. ``lines`` are whole header lines without those about the connection."""
        self._chunked = not self._old and not self._head_only
        framing = b"transfer-encoding: chunked\r\n" if self._chunked else b""
        self._first = self._head(status, lines, framing, b"", close=self._old)

    def write(self, piece: bytes) -> None:
        if not piece or self._head_only:
            return
        if self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._first:
            piece, self._first = self._first + piece, b""
        self.sender.send(piece)

    @property
    def takes_chunks(self) -> bool:
        """Whether the ``sender`` may get chunks as they came from elsewhere: the head is out, and said so."""
        return self._chunked and not self._first

    def end(self) -> None:
        last = self._first + b"0\r\n\r\n" if self._chunked else self._first
        self._end(last)

    def whole(self, status: int, lines: bytes, content: bytes) -> None:
        """An answer with a length, in one piece."""
        length = b"" if status in _BODILESS else b"content-length: %d\r\n" % len(content)
        self._end(self._head(status, lines, length, b"" if self._head_only else content, close=False))

    def throttle(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Have a source paused while the client is behind."""
        self.sender.throttle(pause, resume)

    def unthrottle(self) -> None:
        self.sender.unthrottle()

    def _head(self, status: int, lines: bytes, framing: bytes, content: bytes, *, close: bool) -> bytes:
        if self.status:
            raise RuntimeError("an answer has one head only")
        self.status = status
        self._close = close or self.sender.ends
        last = b"connection: close\r\n\r\n" if self._close else b"\r\n"
        return b"".join((opening(status), lines, framing, last, content))

    def _end(self, last: bytes) -> None:
        if last:
            self.sender.send(last)
        self._first = b""
        self.ended = True
        self.sender.answered(close=self._close)


def farewell(status: int, lines: bytes, content: bytes) -> bytes:
    """A connection's last answer, in JSON."""
    return b"%bcontent-type: application/json\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        opening(status),
        lines,
        len(content),
        content,
    )


def opening(status: int, wall: Callable[[], float] = time.time) -> bytes:
    """Start line and date."""
    return _opening(status, int(wall()))


@lru_cache(maxsize=64)
def _opening(status: int, second: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return f"HTTP/1.1 {status} {phrase}\r\ndate: {formatdate(second, usegmt=True)}\r\n".encode()
