"""The request's side of a dialogue: from its head, and its body where it is shown, to a destination.

How bodies come is the gateway's choice. As streams both ways, nothing is said before the body is here, then
the head, then the body in pieces; buffered, the head passes and is changed with the body; in other modes the
head leaves before the body is known, so that only a header can name its session.
"""

from dataclasses import dataclass, field
from typing import Any

from pdscale.engines.hygiene import client_headers, forwarded
from pdscale.placement.policy import Busy
from pdscale.router.hop.inbound import Inbound, read_request
from pdscale.router.picker import messages as m
from pdscale.router.picker.choice import Picked
from pdscale.router.picker.desk import Desk
from pdscale.router.wire.errors import BadRequest
from pdscale.router.wire.request import Head, Request


class NoReplica(Exception):
    """Nobody can take the request now."""

    def __init__(self, busy: Busy) -> None:
        super().__init__(f"no replica can take the request now: {busy.reason}")
        self.busy = busy


@dataclass(slots=True)
class Asking:
    """``reads_answer``: the answer passes here on its way, so usage may be asked for and hidden."""

    desk: Desk
    mode: int
    reads_answer: bool
    inbound: Inbound | None = None
    picked: Picked | None = None
    _head: Head | None = None
    _among: frozenset[str] | None = None
    _held: list[bytes] = field(default_factory=list)
    _size: int = 0

    def headers(self, request: Any) -> list[Any]:
        """Raises ``BadRequest``, ``UnreadableBody`` or ``NoReplica``, as ``body`` does."""
        head = self._head = m.head_of(request.request_headers)
        self._among = m.allowed(request)
        self.desk.guard(head)
        if not request.request_headers.end_of_stream:
            if self.mode == m.FULL_DUPLEX:
                return []
            if self.mode == m.BUFFERED:
                return [m.on_request_headers()]
            head = Head("GET", head.target, head.version, head.headers, keep_alive=True)  # a body never seen
        return [m.on_request_headers(*self._decide(head, b""))]

    def body(self, piece: bytes, *, ends: bool) -> list[Any]:
        if self.mode == m.BUFFERED:
            self._hold(piece)
            return [m.on_request_body(*self._decide(self._known, piece))]
        if self.mode != m.FULL_DUPLEX:
            return [m.on_request_body()]
        self._hold(piece)
        return self._whole(ends=True) if ends else []

    def trailers(self) -> list[Any]:
        before = self._whole(ends=False) if self.mode == m.FULL_DUPLEX else []
        return [*before, m.on_request_trailers()]

    @property
    def is_round(self) -> bool:
        return self.inbound is not None and self.inbound.body is not None

    @property
    def _known(self) -> Head:
        if self._head is None:
            raise RuntimeError("a body without a head")
        return self._head

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._size += len(piece)
        if self._size > self.desk.largest_body:
            raise BadRequest(413, f"the body must be at most {self.desk.largest_body} bytes")

    def _whole(self, *, ends: bool) -> list[Any]:
        content, self._held = b"".join(self._held), []
        found = self._decide(self._known, content)
        if self.reads_answer and self.inbound is not None:
            content = self.inbound.content
        return [m.on_request_headers(*found), *m.request_pieces(content, ends=ends)]

    def _decide(self, head: Head, content: bytes) -> tuple[Any, Any]:
        desk = self.desk
        inbound = self.inbound = read_request(Request(head, content), now=desk.clock(), chats=desk.chats)
        found = desk.choice(inbound.session, self._among)
        if isinstance(found, Busy):
            raise NoReplica(found)
        self.picked = found
        return m.destination(found.address, inbound.session.encode(), _not_from_clients(head))


def _not_from_clients(head: Head) -> list[str]:
    """Names of headers that only a router may set, and that are here all the same."""
    named = [(name.decode("latin-1"), "") for name, _ in head.headers]
    passed = {name for name, _ in client_headers(named)}
    return sorted({name for name, _ in forwarded(named)} - passed - {m.DESTINATION})
