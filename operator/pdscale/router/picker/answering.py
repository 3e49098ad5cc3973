"""The answer's side of a dialogue: passed on as it comes, and measured as the front measures its own.

What the gateway does not show is not measured: without the body, tokens and times stay unknown.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from pdscale.engines.answers import StreamReader, read_json
from pdscale.model.units import Seconds
from pdscale.router.hop.inbound import Inbound
from pdscale.router.picker import messages as m
from pdscale.router.picker.choice import Picked
from pdscale.router.picker.desk import CLIENT_LEFT, Desk

_LARGEST_READ: Final = (
    16 * 1024 * 1024
)  # of an answer in one piece; usage comes at its end, so all of it or nothing
_OURS: Final = "x-pdscale-"


@dataclass(slots=True)
class Answering:
    """``status`` is 499 while the answer is under way. Without a replica, the answer is the gateway's own."""

    desk: Desk
    inbound: Inbound | None
    picked: Picked | None
    mode: int
    status: int = CLIENT_LEFT
    over: bool = False
    _said: int = 0
    _reader: StreamReader | None = None
    _held: list[bytes] = field(default_factory=list)
    _size: int = 0
    _at: Seconds = 0.0
    _last: Seconds = 0.0

    def headers(self, request: Any) -> list[Any]:
        headers = m.answer_of(request.response_headers)
        inbound = self.inbound
        if self.picked is not None and inbound is not None:
            self.desk.heard(self.picked, inbound.session, headers, served=m.served_by(request))
        self._said = int(headers.get(":status", b"0"))
        if headers.get("content-type", b"").lower().startswith(b"text/event-stream"):
            hide = inbound is not None and inbound.hide_usage and self.mode == m.FULL_DUPLEX
            self._reader = StreamReader(hide_usage=hide)
        if request.response_headers.end_of_stream:
            self._end()
        elif self.mode == m.NONE:
            self.status = self._said  # all that will be seen
        return [m.on_response_headers(name for name in headers if name.startswith(_OURS))]

    def body(self, piece: bytes, *, ends: bool) -> list[Any]:
        passed = self._read(piece)
        if ends:
            passed += self._flushed()
            self._end()
        if self.mode != m.FULL_DUPLEX:
            return [m.on_response_body()]
        return [m.response_piece(passed, ends=ends)] if passed or ends else []

    def trailers(self) -> list[Any]:
        rest = self._flushed()
        self._end()
        before = [m.response_piece(rest, ends=False)] if rest and self.mode == m.FULL_DUPLEX else []
        return [*before, m.on_response_trailers()]

    def _read(self, piece: bytes) -> bytes:
        if piece and not self._at:
            self._at = self._last = self.desk.clock()
        if self._reader is None:
            self._size += len(piece)
            self._held.append(piece if self._size <= _LARGEST_READ else b"")
            return piece
        passed = self._reader.feed(piece)
        if not self._reader.done:
            self._last = self.desk.clock()
        return passed

    def _flushed(self) -> bytes:
        return b"" if self._reader is None else self._reader.flush()

    def _end(self) -> None:
        self.over, self.status = True, self._said
        if self.inbound is None or self.inbound.body is None:
            return
        judge, reader = self.desk.judge, self._reader
        if reader is None:
            judge.whole(self.inbound, self._said, read_json(b"".join(self._held)))
        elif not judge.stream(self.inbound, reader, at=self._at, last=self._last):
            self.status = 502
