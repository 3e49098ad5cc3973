"""One answer of a peer: first waited for, then read whole or relayed.

Relayed means that each piece goes from the socket's callback straight into the reader's: no task runs
until the answer has ended. Back-pressure is joined: while the client does not take what it is sent,
the peer is not read from, and what is unread in between is bounded.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from pdscale.router.wire.answer_head import AnswerHead
from pdscale.router.wire.errand import Wake
from pdscale.router.wire.errors import Expired, Nonsense

_UNREAD: Final = 256 * 1024  # bytes that may lie here before somebody reads
LARGEST_ANSWER: Final = 256 * 1024 * 1024

Sink = Callable[[bytes], None]
# Gets a read that is one chunk, and where in it that begins: true if it has passed the read on as it is.
Through = Callable[[bytes, int], bool]


class Source(Protocol):
    """The connection that an answer comes from."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None: ...


class Outflow(Protocol):
    """Where an answer goes to: it may ask for a pause."""

    def throttle(self, pause: Callable[[], None], resume: Callable[[], None]) -> None: ...

    def unthrottle(self) -> None: ...


class Incoming:
    """``take`` gets each piece once the answer is relayed; ``head`` is absent until it has arrived."""

    __slots__ = (
        "_all",
        "_error",
        "_held",
        "_size",
        "_source",
        "_timer",
        "_waiter",
        "head",
        "over",
        "take",
        "through",
    )

    def __init__(self, source: Source) -> None:
        self._source = source
        self.head: AnswerHead | None = None
        self.over = False
        self.take: Sink | None = None
        self.through: Through | None = None
        self._held: list[bytes] = []
        self._size = 0
        self._all = False
        self._error: Exception | None = None
        self._waiter: Wake | None = None
        self._timer: asyncio.TimerHandle | None = None

    def change(self) -> Wake:
        """Wait for the head, the next piece if nobody has asked for all of them, or the end."""
        self._waiter = waiter = Wake()
        return waiter

    def started(self) -> AnswerHead | None:
        """The head if it is here."""
        if self.head is None and self.over:
            raise self._error or Nonsense("an answer without a head")
        return self.head

    async def some(self) -> bytes:
        """What has arrived, at least one byte of it; empty at the end."""
        while not self._held:
            if self.over:
                self._raise()
                return b""
            await self.change()
        if self._size > _UNREAD and not self.over:
            self._source.resume()
        return self._drain()

    async def whole(self) -> bytes:
        if not self.over:
            self._all = True
            if self._size > _UNREAD:
                self._source.resume()
            while not self.over:
                await self.change()
        self._raise()
        return self._drain()

    async def relay(self, sink: Sink, outflow: Outflow, through: Through | None = None) -> None:
        """Until the answer's end; what has arrived already goes first. Reads that ``through`` passes on never
        become pieces."""
        if self._held:
            sink(self._drain())
        if not self.over:
            self._source.resume()
            outflow.throttle(self._source.pause, self._source.resume)
            self._all, self.take, self.through = True, sink, through
            try:
                while not self.over:
                    await self.change()
            finally:
                outflow.unthrottle()
        self._raise()

    def expire_in(self, seconds: float) -> None:
        """The whole of the answer has to be here by then."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire, seconds)

    def close(self) -> None:
        """Nobody wants the rest: break the connection, which engines take for an abort."""
        if not self.over:
            self._source.abort()
            self.end(None)

    def stir(self) -> None:
        """All of a read is here: whoever waits for a head or a piece goes on, inside of this call."""
        if self._waiter is not None and not self._all:
            self._wake()

    def end(self, error: Exception | None) -> None:
        """The connection's last word: the answer is complete, or this is why it is not."""
        self.over, self._error, self.take, self.through = True, error, None, None
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    def hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._size += len(piece)
        if not self._all:
            if self._size > _UNREAD:
                self._source.pause()
        elif self._size > LARGEST_ANSWER:
            raise Nonsense(f"an answer must be at most {LARGEST_ANSWER} bytes", began=True)

    def _drain(self) -> bytes:
        held, self._held, self._size = self._held, [], 0
        return held[0] if len(held) == 1 else b"".join(held)

    def _expire(self, seconds: float) -> None:
        self._source.abort()
        self.end(Expired(f"no whole answer within {seconds:g}s", began=self.head is not None))

    def _raise(self) -> None:
        """Failures are the connection's; anything else is a bug in whoever took the pieces."""
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            waiter.wake()
