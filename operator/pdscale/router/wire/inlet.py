"""One client's connection: requests in, one at a time; answers out.

What a client has sent ahead waits, and nothing more is read from it until the request before has been
answered. A client that leaves cancels the errand that serves it, wherever that stands.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from pdscale.router.wire.errand import Errand
from pdscale.router.wire.errors import BadRequest
from pdscale.router.wire.link import no_delay
from pdscale.router.wire.parsing import Parsing
from pdscale.router.wire.phase import BODY, BUSY, CLOSING, HEAD, IDLE, LINGER
from pdscale.router.wire.reply import Reply, farewell
from pdscale.router.wire.request import ErrorBody, Guard, Limits, Request


class Host(Protocol):
    """What a connection needs of its server."""

    limits: Limits
    guard: Guard
    error_body: ErrorBody
    draining: bool

    def joined(self, inlet: "Inlet") -> None: ...

    def left(self, inlet: "Inlet") -> None: ...

    def serve(self, request: Request, reply: Reply, inlet: "Inlet") -> Errand: ...


def _to_nobody(data: bytes) -> None:
    """To write to a client that is gone does nothing."""


class Inlet(asyncio.Protocol):
    def __init__(self, host: Host) -> None:
        self._host = host
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._parsing = Parsing(self, host.limits, host.guard)
        self._phase, self._age = IDLE, 0.0
        self._errand: Errand | None = None
        self._ahead: deque[Request | BadRequest] = deque()
        self._last = False  # the connection ends with the request in work
        self._paused = self._owed = self._choked = self._gone = False
        self._throttle: tuple[Callable[[], None], Callable[[], None]] | None = None
        self.send: Callable[[bytes], None] = _to_nobody

    # ---- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send = self._transport.write
        no_delay(transport)
        self._host.joined(self)

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is IDLE:
            self._phase, self._age = HEAD, 0.0
        elif phase is BODY:
            self._age = 0.0
        elif phase is not BUSY and phase is not HEAD:
            return
        try:
            self._parsing.feed(data)
        except BadRequest as refusal:
            self._take(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone, self.send = True, _to_nobody
        self._host.left(self)
        self._parsing.close()
        self._ahead.clear()
        self._throttle = None
        if self._errand is not None:
            self._errand.cancel()
            self._errand = None

    def pause_writing(self) -> None:
        self._choked = True
        if self._throttle is not None:
            self._throttle[0]()

    def resume_writing(self) -> None:
        self._choked = False
        if self._throttle is not None:
            self._throttle[1]()

    def tick(self, seconds: float) -> None:
        self._age += seconds
        limits, phase = self._host.limits, self._phase
        if phase is IDLE and self._age > limits.idle_seconds:
            self._transport.close()
        elif (phase is HEAD and self._age > limits.head_seconds) or (
            phase is BODY and self._age > limits.idle_seconds
        ):
            self._refuse(BadRequest(408, "the request did not arrive in time"))
        elif (phase is LINGER and self._age > limits.linger_seconds) or (
            phase is CLOSING and self._age > limits.idle_seconds
        ):
            self.abort()

    # ---- the parser's side

    def head_complete(self, *, expects: bool) -> None:
        if self._phase is BUSY:
            self._owed = expects
            return
        self._phase, self._age = BODY, 0.0
        if expects:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def request_complete(self, request: Request) -> None:
        self._owed = False
        self._take(request)

    # ---- the answer's side

    @property
    def ends(self) -> bool:
        return self._last or self._host.draining

    def throttle(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._throttle = (pause, resume)
        if self._choked:
            pause()

    def unthrottle(self) -> None:
        self._throttle = None

    def answered(self, *, close: bool) -> None:
        self._errand = None
        if self._gone:
            return
        if close:
            self._phase, self._age = CLOSING, 0.0
            self._transport.close()
            return
        self._phase, self._age = IDLE, 0.0
        if self._ahead:  # not from inside the errand that ends with this answer
            self._phase = BUSY
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._read_on()

    def abort(self) -> None:
        if not self._gone:
            self._transport.abort()

    # ----

    def _next(self) -> None:
        if not self._gone:
            self._phase = IDLE
            self._take(self._ahead.popleft())

    def _take(self, item: Request | BadRequest) -> None:
        """Serve or refuse it now, or when its turn has come."""
        if self._phase is BUSY:
            self._ahead.append(item)
            if not self._paused:
                self._paused = True
                self._transport.pause_reading()
        elif isinstance(item, BadRequest):
            self._refuse(item)
        else:
            self._phase = BUSY
            head = item.head
            self._last = not head.keep_alive or head.version != "1.1"
            reply = Reply(self, method=head.method, version=head.version)
            errand = self._host.serve(item, reply, self)
            if self._phase is BUSY and not reply.ended:
                self._errand = errand

    def _read_on(self) -> None:
        if self._parsing.begun:
            self._phase = HEAD if self._parsing.in_head else BODY
        if self._owed:
            self._owed = False
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _refuse(self, refusal: BadRequest) -> None:
        """Say why, and leave time to read it: to close on unread bytes would discard the answer."""
        content = self._host.error_body(refusal.status, str(refusal))
        self.send(farewell(refusal.status, refusal.headers, content))
        self._phase, self._age = LINGER, 0.0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()
