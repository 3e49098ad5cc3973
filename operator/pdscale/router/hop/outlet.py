"""The client's side of an answer, in the words of a round. Nothing here waits.

To write to a client that is gone does nothing: its leaving has cancelled the request already.
"""

from collections.abc import Callable

from pdscale.engines.answers import error_body
from pdscale.router.wire.reply import Reply

JSON: bytes = b"Content-Type: application/json\r\n"


def no_headers() -> bytes:
    return b""


class Outlet:
    """One answer. ``extra`` are header lines of the router's own, asked for when the head is written."""

    __slots__ = ("_extra", "_reply", "sender", "write")

    def __init__(self, reply: Reply, extra: Callable[[], bytes] = no_headers) -> None:
        self._reply, self._extra = reply, extra
        self.write, self.sender = reply.write, reply.sender

    def throttle(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._reply.throttle(pause, resume)

    def unthrottle(self) -> None:
        self._reply.unthrottle()

    @property
    def takes_chunks(self) -> bool:
        return self._reply.takes_chunks

    @property
    def begun(self) -> bool:
        return self._reply.status > 0

    def begin(self, status: int, headers: bytes) -> None:
        """A stream's head; it leaves together with the first piece."""
        self._reply.begin(status, headers + self._extra())

    def end(self) -> None:
        self._reply.end()

    def whole(self, status: int, headers: bytes, content: bytes) -> None:
        """An answer with a length, in one piece."""
        self._reply.whole(status, headers + self._extra(), content)

    def error(self, status: int, message: str, *, kind: str, own: bytes = b"") -> None:
        self.whole(status, JSON + own, error_body(message, kind=kind, status=status))

    def cut(self, message: str, *, status: int) -> None:
        """End a stream that cannot go on: an error event, then the end, without a ``[DONE]``."""
        body = error_body(message, kind="UpstreamLost", status=status)
        self.write(b"data: " + body + b"\n\n")
        self.end()
