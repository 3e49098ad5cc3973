"""One connection to a peer: a request goes out, an answer comes in, then the next.

A connection is kept only if nothing about it is odd: the answer's framing told its end, nothing came
after it, all of the request was taken, and neither side asked to close.
"""

import asyncio
import socket
from typing import Final, Protocol, cast

from pdscale.router.wire.answer_head import LARGEST_HEAD, head_of
from pdscale.router.wire.errors import Closed, Expired, Nonsense
from pdscale.router.wire.framing import SIZES, Framing
from pdscale.router.wire.incoming import Incoming

_WITH_BODY: Final = ("POST", "PUT", "PATCH")
# Seconds without a sign of the peer's kernel. An engine may compute for minutes and say nothing; a node that
# is gone says nothing either, and Kubernetes takes 40 s to notice.
_PROBE: Final = 5
_LOST: Final = 15
_JOINED: Final = 64 * 1024  # up to here one copy is cheaper than two writes


class Keeper(Protocol):
    """Who owns a connection while no request does."""

    def keep(self, link: "Link") -> None: ...

    def lost(self, link: "Link") -> None: ...


class Link(asyncio.Protocol):
    """``quiet`` counts ticks without a byte while an answer is due; ``used`` requests were sent before."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._incoming: Incoming | None = None
        self._framing: Framing | None = None
        self._method = ""
        self._head = b""
        self._paused = False
        self.quiet = 0
        self.used = 0
        self.idle_since = 0.0
        self.closed = False

    @property
    def busy(self) -> bool:
        return self._incoming is not None

    def send(self, method: str, head: bytes, body: bytes) -> Incoming:
        """``head`` is the start line and all headers but the length, each with its line end."""
        self.used += 1
        self.quiet = 0
        self._method = method
        incoming = self._incoming = Incoming(self)
        last = b"content-length: %d\r\n\r\n" % len(body) if body or method in _WITH_BODY else b"\r\n"
        if len(body) <= _JOINED:
            self._transport.write(b"".join((head, last, body)))
        else:
            self._transport.writelines((head, last, body))
        return incoming

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        no_delay(transport)
        notice_loss(transport)

    def data_received(self, data: bytes) -> None:
        incoming = self._incoming
        if incoming is None:  # nobody asked
            self.abort()
            return
        self.quiet = 0
        try:
            framing, through = self._framing, incoming.through
            if through is not None and framing is not None and framing.between:
                line = data.find(b"\r\n")
                size = SIZES.get(data[:line])
                if size and line + size + 4 == len(data) and data[-2:] == b"\r\n":
                    if through(data, line + 2):
                        return
                    incoming.through = None  # who has one event to be read mostly has more
            if framing is None:
                rest = self._take_head(incoming, data)
                framing = self._framing
                if rest is None or framing is None:
                    return
                data = rest
            if data and (piece := framing.feed(data)):
                (incoming.take or incoming.hold)(piece)
            if framing.done:
                self._complete(incoming, framing)
            elif incoming.take is None:
                incoming.stir()
        except Exception as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        incoming, framing = self._incoming, self._framing
        self._incoming = None
        if incoming is not None and not incoming.over:
            began = framing is not None
            whole = framing is not None and exc is None and framing.at_close()
            incoming.end(None if whole else Closed(f"the peer closed: {exc!r}", began=began))
        self._keeper.lost(self)

    def tick(self, silence: int) -> None:
        """Too many ticks without a byte are the end, be it the peer's fault or a client's that reads none."""
        self.quiet += 1
        if self._incoming is not None and self.quiet > silence:
            self._fail(Expired("no byte for too long", began=self._framing is not None))

    def pause(self) -> None:
        if not self._paused and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self.closed:
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        self.closed = True
        self._incoming = None
        self._transport.abort()

    def _take_head(self, incoming: Incoming, data: bytes) -> bytes | None:
        """What follows the head, if all of that is here. Interim answers (1xx) are read over."""
        if self._head:
            data, self._head = self._head + data, b""
        while (end := data.find(b"\r\n\r\n")) >= 0:
            if end > LARGEST_HEAD:
                break
            head, data = head_of(data[:end]), data[end + 4 :]
            if head.status == 101:
                raise Nonsense("the peer switched protocols unasked")
            if head.status >= 200:
                self._framing = head.framing(self._method)
                incoming.head = head
                return data
        if len(data) > LARGEST_HEAD:
            raise Nonsense(f"the head of an answer must be at most {LARGEST_HEAD} bytes")
        self._head = data
        return None

    def _complete(self, incoming: Incoming, framing: Framing) -> None:
        head = incoming.head
        sound = head is not None and head.keep_alive and not framing.surplus
        self._incoming, self._framing = None, None
        if sound and not self._transport.get_write_buffer_size() and not self._transport.is_closing():
            if self._paused:
                self.resume()
            self._keeper.keep(self)
        else:
            self.closed = True
            self._transport.abort()
        incoming.end(None)

    def _fail(self, error: Exception) -> None:
        incoming = self._incoming
        self.abort()
        if incoming is not None and not incoming.over:
            incoming.end(error)


def notice_loss(transport: asyncio.BaseTransport) -> None:
    """Have the kernel ask the peer's for a sign of life, and end the connection if none comes."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _PROBE),
        ("TCP_KEEPINTVL", _PROBE),
        ("TCP_KEEPCNT", _LOST // _PROBE),
        ("TCP_USER_TIMEOUT", _LOST * 1000),  # also for what was written and never acknowledged
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def no_delay(transport: asyncio.BaseTransport) -> None:
    """Nagle's algorithm with delayed acknowledgements holds a kept-alive stream's first events for 40 ms."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
