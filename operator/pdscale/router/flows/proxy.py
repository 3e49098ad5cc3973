"""Performs one round's exchange over HTTP: runs its commands, feeds back what happened, and cleans up.

Nothing waits between the legs. A client that leaves takes its open leg along: the connection is
broken and the engine aborts. With a decode leg that has KV to fetch there is one more duty: it must
reach the engine before it is broken (it is *owed*), because only the decode engine can tell the
prefill engine to free the blocks (measured: 0.5 s, against 30 s until the lease ends).
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from pdscale.engines.splice import splice
from pdscale.model.units import Tokens
from pdscale.placement import exchange as x
from pdscale.placement.exchange import Exchange, Failure, Params
from pdscale.router.flows.capabilities import Asked
from pdscale.router.flows.delivery import Delivery, EngineError, Verdict
from pdscale.router.flows.prefill import prefill
from pdscale.router.flows.tools import Tools
from pdscale.router.hop.inbound import Inbound
from pdscale.router.hop.legs import Answer, LegFailed, failure_of
from pdscale.router.hop.outlet import Outlet

_FIRST_ERROR: Final = b'data: {"error"'
_STARTED: Final = x.DecodeStarted()


@dataclass(slots=True)
class RoundTrip:
    """One round. ``plain`` rounds carry no transfer parameters at all; ``history`` are the session's own."""

    tools: Tools
    inbound: Inbound
    body: dict[str, Any]
    outlet: Outlet
    exchange: Exchange
    new_tokens: Tokens
    context: Tokens
    history: Params | None = None
    plain: bool = False
    _answer: Answer | None = None
    _held: bytes = b""
    _own_error: EngineError | None = None
    _sent: bool = False
    _asked: Asked = Asked.NOTHING
    _delivery: Delivery = field(init=False)

    def __post_init__(self) -> None:
        own, hide = self.tools.own, self.inbound.hide_usage
        self._delivery = Delivery(self.outlet, own, self.tools.clock, hide)

    async def run(self) -> Verdict:
        command: x.Command = self.exchange.first
        try:
            while True:
                match command:
                    case x.Prefill(endpoint):
                        command = self.exchange.feed(await self._prefill(endpoint))
                    case x.Decode(_, params):
                        command = self.exchange.feed(await self._decode(params))
                    case x.Stream():
                        command = self.exchange.feed(await self._stream())
                    case x.Finish(params):
                        return self._finish(params)
                    case x.Cut(failure):
                        return self._delivery.cut(failure)
                    case x.Fail(status, failure):
                        return self._delivery.fail(status, failure, self._own_error, sent=self._sent)
                    case x.Abort():
                        return Verdict(499)
                    case _:
                        assert_never(command)
        except asyncio.CancelledError:
            if self.exchange.state is not x.State.OVER:
                self.exchange.feed(x.ClientLeft())
            raise
        finally:
            self._close()

    async def _prefill(self, endpoint: str) -> x.PrefillDone | x.PrefillFailed:
        leg = self.tools.dialect.prefill_leg(self.body, self.history)
        new, seen = self._remote_work()
        return await prefill(self.tools, self.inbound, leg, endpoint=endpoint, new_tokens=new, history=seen)

    def _remote_work(self) -> tuple[Tokens, Tokens]:
        """(new, history) tokens of the prefill leg: a history that cannot be read is computed again."""
        if self.history is None:
            return self.context, 0.0
        return self.new_tokens, self.context - self.new_tokens

    async def _decode(self, params: Params | None) -> x.DecodeStarted | x.DecodeFailed:
        self._close()
        own = self.tools.own
        tokens = self.new_tokens if params is None else 0.0
        own.queued_tokens += tokens
        try:
            answer = self._answer = await self.tools.legs.open(
                own.url,
                self.inbound.target,
                method="POST",
                headers=self.inbound.headers,
                content=self._decode_body(params),
                replay=params is None,
                owed=params is not None,
            )
            self._sent = True
            self._held = await (answer.chunk() if answer.streams else answer.whole())
        except LegFailed as error:
            self._sent |= error.sent
            kind = Failure.UNREACHABLE if error.failure is Failure.CUT else error.failure
            return x.DecodeFailed(kind)
        finally:
            own.queued_tokens -= tokens
        return self._first_word(answer, params)

    def _first_word(self, answer: Answer, params: Params | None) -> x.DecodeStarted | x.DecodeFailed:
        failure = failure_of(answer.status)
        if failure is not None:
            self._own_error = EngineError(answer.status, answer.headers, self._held)
            return x.DecodeFailed(failure)
        if not self._held:
            return x.DecodeFailed(Failure.UNREACHABLE)
        if answer.streams and params is not None and self._held.startswith(_FIRST_ERROR):
            return x.DecodeFailed(Failure.ENGINE_ERROR)
        return _STARTED

    def _decode_body(self, params: Params | None) -> bytes:
        dialect = self.tools.dialect
        if params is not None:
            self._asked = Asked.TO_FETCH
            return splice(self.inbound.content, dialect.decode_fields(params))
        fields = {} if self.plain else dialect.local_fields()
        self._asked = Asked.TO_KEEP if fields else Asked.NOTHING
        return splice(self.inbound.content, fields)

    async def _stream(self) -> x.DecodeEnded | x.DecodeFailed:
        if self._answer is None:
            raise RuntimeError("a stream without a decode leg")
        return await self._delivery.deliver(self._answer, self._held, context=self.context)

    def _finish(self, params: Params | None) -> Verdict:
        verdict = self._delivery.finish(params)
        self.tools.history.learn(verdict, self._asked, streamed=self._delivery.streamed)
        return verdict

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()
        self._own_error = None
