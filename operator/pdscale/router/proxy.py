"""Performs one round's exchange over HTTP: runs its commands, feeds back what happened, and cleans up.

Nothing waits between the legs. A client that leaves takes its open leg along: the connection is
broken and the engine aborts. With a decode leg that has KV to fetch there is one more duty: it must
reach the engine before it is broken (it is *owed*), because only the decode engine can tell the
prefill engine to free the blocks (measured: 0.5 s, against 30 s until the lease ends).
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from pdscale.engines.answers import Reading, StreamReader, Usage, read_json
from pdscale.engines.splice import splice
from pdscale.model.units import Seconds, Tokens
from pdscale.placement import exchange as x
from pdscale.placement.exchange import Exchange, Failure, Params
from pdscale.router.inbound import REFUSED_HEADER, Inbound
from pdscale.router.legs import Answer, LegFailed, failure_of
from pdscale.router.outlet import Outlet
from pdscale.router.pace import Pace
from pdscale.router.prefill import prefill
from pdscale.router.tools import Tools

_REFUSED: Final = REFUSED_HEADER.encode()
_FIRST_ERROR: Final = b'data: {"error"'


@dataclass(slots=True)
class Verdict:
    """How a round ended: the status for the books, and what the engine told."""

    code: int
    usage: Usage | None = None
    params: Params | None = None
    first_token: Seconds | None = None  # of a stream; an answer in one piece does not show it


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
    _reading: Reading | None = None
    _reader: StreamReader = field(default_factory=StreamReader)
    _own_error: bytes | None = None
    _first_token: Seconds | None = None

    async def run(self) -> Verdict:
        self._reader.hide_usage = self.inbound.hide_usage
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
                        if self._reading is None:
                            self.outlet.end()
                        return Verdict(self._status(200), self._usage(), params, self._first_token)
                    case x.Cut(failure):
                        message = f"the engine was lost while it answered: {failure}"
                        self.outlet.cut(message, status=502)
                        return Verdict(502, self._usage())
                    case x.Fail(status, failure):
                        return Verdict(self._refuse(status, failure))
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
        return await prefill(self.tools, self.inbound, leg, endpoint=endpoint, new_tokens=self.new_tokens)

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
            self._held = await (answer.chunk() if answer.streams else answer.whole())
        except LegFailed as error:
            kind = Failure.UNREACHABLE if error.failure is Failure.CUT else error.failure
            return x.DecodeFailed(kind)
        finally:
            own.queued_tokens -= tokens
        return self._first_word(answer, params)

    def _first_word(self, answer: Answer, params: Params | None) -> x.DecodeStarted | x.DecodeFailed:
        failure = failure_of(answer.status)
        if failure is not None:
            self._own_error = self._held
            return x.DecodeFailed(failure)
        if not self._held:
            return x.DecodeFailed(Failure.UNREACHABLE)
        if answer.streams and params is not None and self._held.startswith(_FIRST_ERROR):
            return x.DecodeFailed(Failure.ENGINE_ERROR)
        return x.DecodeStarted()

    def _decode_body(self, params: Params | None) -> bytes:
        dialect = self.tools.dialect
        if params is not None:
            return splice(self.inbound.content, dialect.decode_fields(params))
        return self.inbound.content if self.plain else splice(self.inbound.content, dialect.local_fields())

    async def _stream(self) -> x.DecodeEnded | x.DecodeFailed:
        answer, own = self._answer, self.tools.own
        if answer is None:
            raise RuntimeError("a stream without a decode leg")
        if not answer.streams:
            self._reading = read_json(self._held)
            self.outlet.whole(answer.status, answer.headers, self._reading.content)
            return x.DecodeEnded(self._reading.params)
        self._first_token = self.tools.clock()
        self.outlet.begin(answer.status, answer.headers)
        pace = Pace(self._reader, self.outlet.write, own.itl, self.tools.clock)
        pace.first(self._held)
        own.resident_tokens += self.context
        try:
            await answer.relay(pace.take, self.outlet)
        except LegFailed as error:
            return x.DecodeFailed(error.failure)
        finally:
            own.resident_tokens -= self.context
            pace.note(self.tools.clock())
        self.outlet.write(self._reader.flush())
        return x.DecodeEnded(self._reader.params)

    def _refuse(self, status: int, failure: Failure) -> int:
        """The engine's own words where there are any."""
        if self._own_error is None or self._answer is None:
            # Nothing of it is with the client, so that another replica may try.
            own = b"%b: %b\r\n" % (_REFUSED, failure.encode()) if failure is Failure.UNREACHABLE else b""
            self.outlet.error(status, f"the engine gave no answer: {failure}", kind=failure, own=own)
            return status
        self.outlet.whole(self._answer.status, self._answer.headers, self._own_error)
        return self._answer.status

    def _usage(self) -> Usage | None:
        return self._reading.usage if self._reading is not None else self._reader.usage

    def _status(self, good: int) -> int:
        return 502 if self._reader.failed else good

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()
        self._own_error = None
