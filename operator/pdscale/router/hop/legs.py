"""Calls to engines and other routers, and their answers, in the words of an exchange."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from pdscale.model.units import Seconds
from pdscale.placement.exchange import Failure
from pdscale.router.hop.client_lines import client_lines
from pdscale.router.wire.answer_head import AnswerHead
from pdscale.router.wire.errors import Closed, Expired, NotReached, PeerFailed
from pdscale.router.wire.incoming import Incoming, Outflow, Through
from pdscale.router.wire.links import Destination, Links

# Long enough for a request to be written to an engine in the same pod, short enough not to decode for nobody.
_HAND_OVER: Final[Seconds] = 0.05


class LegFailed(Exception):
    """A call gave no (whole) answer; ``failure`` says what became of it, ``sent`` whether it ever left."""

    def __init__(self, failure: Failure, detail: str, *, sent: bool = True) -> None:
        super().__init__(f"{failure}: {detail}")
        self.failure, self.sent = failure, sent


class Answer:
    """An answer whose head is here and whose body is not, yet."""

    __slots__ = ("_head", "_incoming", "status", "streams")

    def __init__(self, incoming: Incoming, head: AnswerHead) -> None:
        self._incoming, self._head = incoming, head
        self.status = head.status
        kind = head.value(b"content-type")
        self.streams = kind is not None and kind[:17].lower() == b"text/event-stream"

    @property
    def headers(self) -> bytes:
        """The lines that a client may see."""
        head = self._head
        if head.shown is None:
            head.shown = client_lines(head.lines)
        return head.shown

    def header(self, name: bytes) -> bytes | None:
        return self._head.value(name)

    async def chunk(self) -> bytes:
        """What has arrived; empty at the end."""
        try:
            return await self._incoming.some()
        except PeerFailed as error:
            raise _cut(error) from error

    async def whole(self) -> bytes:
        try:
            return await self._incoming.whole()
        except PeerFailed as error:
            raise _cut(error) from error

    async def relay(
        self, take: Callable[[bytes], None], outflow: Outflow, through: Through | None = None
    ) -> None:
        """Each further piece goes to ``take`` as it comes; returns at the answer's end."""
        try:
            await self._incoming.relay(take, outflow, through)
        except PeerFailed as error:
            raise _cut(error) from error

    def close(self) -> None:
        """Break the connection unless the body was read to its end: engines abort."""
        self._incoming.close()


class Legs:
    def __init__(self, links: Links) -> None:
        self._links = links
        self._owed: set[asyncio.Task[None]] = set()

    async def open(
        self,
        url: str,
        target: bytes,
        *,
        method: str,
        headers: bytes,
        content: bytes,
        replay: bool = False,
        owed: bool = False,
        within: Seconds | None = None,
    ) -> Answer:
        """Send a request and wait for the head of its answer; all of it has to be here ``within`` seconds.

        ``replay`` sends it once more when a kept-alive connection turns out to be closed. Never
        for a leg with transfer parameters, which may have been used by then. An ``owed`` request has
        to reach its peer even if nobody waits for the answer any more.
        """
        destination = self._links.to(url)
        head = b"".join((method.encode(), b" ", destination.prefix, target, destination.host_line, headers))
        link = self._links.take(destination)
        try:
            if link is not None:
                incoming = link.send(method, head, content)
                if within is not None:
                    incoming.expire_in(within)
                try:
                    while (answered := incoming.started()) is None:
                        await incoming.change()
                    return Answer(incoming, answered)
                except asyncio.CancelledError:
                    self._abandon(incoming, owed=owed)
                    raise
                except Closed as closed:
                    if closed.began or not replay:
                        raise
            sending = self._send_anew(destination, method, head, content)
            incoming = await (self._surely(sending) if owed else sending)
            if within is not None:
                incoming.expire_in(within)
            try:
                while (answered := incoming.started()) is None:
                    await incoming.change()
                return Answer(incoming, answered)
            except asyncio.CancelledError:
                self._abandon(incoming, owed=owed)
                raise
        except Expired as late:
            raise LegFailed(Failure.TIMED_OUT, url) from late
        except PeerFailed as error:
            sent = link is not None or not isinstance(error, NotReached)
            raise LegFailed(Failure.UNREACHABLE, f"{url}: {error}", sent=sent) from error

    def see_to(self, work: Awaitable[None]) -> None:
        """Let it go on while nobody waits for it any more."""
        task = asyncio.ensure_future(work)
        self._owed.add(task)
        task.add_done_callback(self._owed.discard)

    def close(self) -> None:
        for task in self._owed:
            task.cancel()
        self._links.close()

    async def _send_anew(
        self, destination: Destination, method: str, head: bytes, content: bytes
    ) -> Incoming:
        return (await self._links.connect(destination)).send(method, head, content)

    def _abandon(self, incoming: Incoming, *, owed: bool) -> None:
        if owed:
            self.see_to(self._hand_over(_given(incoming)))
        else:
            incoming.close()

    async def _surely(self, sending: Awaitable[Incoming]) -> Incoming:
        """A client that leaves while the connection is made does not stop what is to be sent on it."""
        task = asyncio.ensure_future(sending)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.see_to(self._hand_over(task))
            raise

    async def _hand_over(self, sending: Awaitable[Incoming]) -> None:
        """Let the peer see the request, then break it off."""
        try:
            async with asyncio.timeout(_HAND_OVER):
                incoming = await sending
                try:
                    while incoming.started() is None:
                        await incoming.change()
                finally:
                    incoming.close()
        except (PeerFailed, TimeoutError):
            pass


async def _given(incoming: Incoming) -> Incoming:
    return incoming


def _cut(error: PeerFailed) -> LegFailed:
    return LegFailed(Failure.TIMED_OUT if isinstance(error, Expired) else Failure.CUT, str(error))


def failure_of(status: int) -> Failure | None:
    """What a status means for a leg; ``None`` for a good answer."""
    if status in (429, 503):
        return Failure.OVERLOADED
    if status >= 500:
        return Failure.ENGINE_ERROR
    return Failure.REJECTED if status >= 400 else None
