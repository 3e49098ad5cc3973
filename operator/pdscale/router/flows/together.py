"""Performs one round's exchange where both legs start together: the sibling of ``proxy``.

An end that is not good breaks both legs off before the client is answered, because the engine of a leg whose
other one is gone would hold memory for minutes. A client that leaves takes both along.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import assert_never

from pdscale.engines.splice import splice
from pdscale.model.units import Tokens
from pdscale.placement import exchange as x
from pdscale.placement.exchange import Failure
from pdscale.placement.exchange_at_once import Both, Command, ExchangeAtOnce, State, Wait
from pdscale.router.flows.delivery import Delivery, Verdict
from pdscale.router.flows.meeting import Heard, Meeting
from pdscale.router.flows.tools import Tools
from pdscale.router.hop.inbound import Inbound
from pdscale.router.hop.outlet import Outlet


@dataclass(slots=True)
class TogetherTrip:
    """One round of legs that meet in the engines."""

    tools: Tools
    inbound: Inbound
    outlet: Outlet
    exchange: ExchangeAtOnce
    new_tokens: Tokens
    context: Tokens
    rng: random.Random
    _meeting: Meeting | None = None
    _delivery: Delivery = field(init=False)

    def __post_init__(self) -> None:
        own, hide = self.tools.own, self.inbound.hide_usage
        self._delivery = Delivery(self.outlet, own, self.tools.clock, hide)

    async def run(self) -> Verdict:
        command: Command = self.exchange.first
        try:
            while True:
                match command:
                    case Both(prefill):
                        await self._break_off()
                        command = self.exchange.feed(await self._meet(prefill))
                    case Wait():
                        command = self.exchange.feed(await self._under_way.next())
                    case x.Stream():
                        command = self.exchange.feed(await self._stream())
                    case x.Finish():
                        return self._finish()
                    case x.Cut(failure):
                        await self._break_off()
                        return self._delivery.cut(failure)
                    case x.Fail():
                        return await self._fail(command)
                    case x.Abort():
                        return Verdict(499)
                    case _:
                        assert_never(command)
        except asyncio.CancelledError:
            if self.exchange.state is not State.OVER:
                self.exchange.feed(x.ClientLeft())
            raise
        finally:
            await self._break_off()

    async def _meet(self, prefill: str) -> Heard:
        """A fresh room for this attempt, and the same bytes to both."""
        peer = self.tools.roster.peer(prefill)
        if peer is None:
            return x.PrefillFailed(Failure.UNREACHABLE)
        dialect = self.tools.dialect
        where = dialect.meeting(peer.endpoint.address, self.rng)
        if where is None:
            raise RuntimeError(f"{dialect} has no meeting for legs that start together")
        content = splice(self.inbound.content, dialect.decode_fields(where))
        self._meeting = Meeting(self.tools, self.inbound, content, prefill=peer, new_tokens=self.new_tokens)
        return await self._meeting.next()

    async def _stream(self) -> x.DecodeEnded | x.DecodeFailed:
        """The prefill leg is read on by its own task, and what it says does not matter any more."""
        meeting = self._under_way
        if meeting.answer is None:
            raise RuntimeError("a stream without a decode leg")
        return await self._delivery.deliver(meeting.answer, meeting.held, context=self.context)

    def _finish(self) -> Verdict:
        self._under_way.let_end()
        self._meeting = None
        return self._delivery.finish()

    async def _fail(self, command: x.Fail) -> Verdict:
        told = None if self._meeting is None else self._meeting.errors.get(command.leg)
        await self._break_off()
        return self._delivery.fail(command.status, command.failure, told, leg=command.leg)

    @property
    def _under_way(self) -> Meeting:
        if self._meeting is None:
            raise RuntimeError("no legs are under way")
        return self._meeting

    async def _break_off(self) -> None:
        meeting, self._meeting = self._meeting, None
        if meeting is not None:
            await meeting.break_off()
