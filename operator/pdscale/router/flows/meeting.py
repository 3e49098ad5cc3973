"""Two legs that were sent at the same time, and what is heard of them.

Each is a task that ends in one event of the exchange. Neither is ever sent again on another connection: its
room may have been used.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from pdscale.engines.answers import error_event
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.exchange import (
    DecodeFailed,
    DecodeStarted,
    Failure,
    Leg,
    PrefillDone,
    PrefillFailed,
)
from pdscale.router.fleet.peers import Peer
from pdscale.router.flows.delivery import EngineError
from pdscale.router.flows.prefill import ask_gate
from pdscale.router.flows.tools import Tools
from pdscale.router.hop.inbound import Inbound
from pdscale.router.hop.legs import Answer, LegFailed, failure_of
from pdscale.router.hop.outlet import JSON

# How much longer than the whole round a prefill leg may take to say that it is done: an engine notices at the
# end of a forward pass. To break it off for less would have its gate count it as abandoned.
_TAIL: Final[Seconds] = 1.0

Heard = PrefillDone | PrefillFailed | DecodeStarted | DecodeFailed


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a leg, and its engine's own error if it gave one."""

    event: Heard
    error: EngineError | None = None


class Meeting:
    """One attempt. ``answer`` and ``held`` are the decode leg's once it has started."""

    def __init__(
        self, tools: Tools, inbound: Inbound, content: bytes, *, prefill: Peer, new_tokens: Tokens
    ) -> None:
        self._tools, self._inbound, self._content = tools, inbound, content
        self.answer: Answer | None = None
        self.held = b""
        self.errors: dict[Leg, EngineError | None] = {}
        self._legs: dict[Leg, asyncio.Task[_Outcome]] = {
            Leg.PREFILL: asyncio.ensure_future(self._prefill(prefill, new_tokens)),
            Leg.DECODE: asyncio.ensure_future(self._decode()),
        }
        self._unheard = dict(self._legs)

    async def next(self) -> Heard:
        """One leg's event; of two that are there, the prefill leg's comes first."""
        await asyncio.wait(self._unheard.values(), return_when=asyncio.FIRST_COMPLETED)
        leg = next(leg for leg, task in self._unheard.items() if task.done())
        outcome = self._unheard.pop(leg).result()
        self.errors[leg] = outcome.error
        return outcome.event

    async def break_off(self) -> None:
        """Both connections are closed when this returns, unless the answers were read to their ends."""
        for task in self._legs.values():
            task.cancel()
        try:
            await asyncio.wait(self._legs.values())
        finally:
            if self.answer is not None:
                self.answer.close()

    def let_end(self) -> None:
        """The client has all; the prefill leg is read on for a moment."""
        self._tools.legs.see_to(_until_over(self._legs[Leg.PREFILL]))

    async def _prefill(self, peer: Peer, new_tokens: Tokens) -> _Outcome:
        found = await ask_gate(self._tools, self._inbound, self._content, peer=peer, new_tokens=new_tokens)
        if isinstance(found, Failure):
            return _Outcome(PrefillFailed(found))
        failure, error = _judge(found.answer, found.content)
        return _Outcome(PrefillDone({}) if failure is None else PrefillFailed(failure), error)

    async def _decode(self) -> _Outcome:
        answer: Answer | None = None
        started = False
        try:
            answer = await self._tools.legs.open(
                self._tools.own.url,
                self._inbound.target,
                method="POST",
                headers=self._inbound.headers,
                content=self._content,
            )
            held = await (answer.chunk() if answer.streams else answer.whole())
            failure, error = _judge(answer, held)
            started = failure is None and bool(held)
        except LegFailed as lost:
            kind = Failure.UNREACHABLE if lost.failure is Failure.CUT else lost.failure
            return _Outcome(DecodeFailed(kind))
        finally:
            if answer is not None and not started:
                answer.close()
        if not started:
            return _Outcome(DecodeFailed(failure or Failure.UNREACHABLE), error)
        self.answer, self.held = answer, held
        return _Outcome(DecodeStarted())


def _judge(answer: Answer, content: bytes) -> tuple[Failure | None, EngineError | None]:
    """An engine that has begun a stream says what went wrong inside of it."""
    failure = failure_of(answer.status)
    if failure is not None:
        return failure, EngineError(answer.status, answer.headers, content)
    event = error_event(content) if answer.streams else None
    if event is None:
        return None, None
    return failure_of(event.code), EngineError(event.code, JSON, event.content)


async def _until_over(leg: "asyncio.Task[_Outcome]") -> None:
    try:
        async with asyncio.timeout(_TAIL):
            await leg
    except TimeoutError:
        pass  # it was cancelled, and its connection is broken
