"""Performs one round's exchange over HTTP: runs its commands, feeds back what happened, and cleans up.

Nothing waits between the legs. A client that leaves takes its open leg along: the connection is
broken and the engine aborts. With a decode leg that has KV to fetch there is one more duty: it must
reach the engine before it is broken, because only the decode engine can tell the prefill engine to
free the blocks (measured: 0.5 s, against 30 s until the lease ends).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

import orjson

from pdscale.engines.answers import Reading, StreamReader, Usage, read_json
from pdscale.engines.dialects import Dialect, usable_for_decode
from pdscale.model.units import Seconds, Tokens
from pdscale.placement import exchange as x
from pdscale.placement.exchange import Exchange, Failure, Params
from pdscale.router.inbound import LEG_HEADER, PREFILL_LEG, TOKENS_HEADER, Inbound
from pdscale.router.legs import Answer, LegFailed, Legs, failure_of
from pdscale.router.loads import LOAD_HEADER, parse_load_header
from pdscale.router.outlet import ClientGone, Outlet
from pdscale.router.own import OwnEngine
from pdscale.router.roster import Roster

# Long enough for a request to be written to an engine in the same pod, short enough not to decode for nobody.
_HAND_OVER: Final[Seconds] = 0.05
_FIRST_ERROR: Final = b'data: {"error"'


@dataclass(frozen=True, slots=True)
class Tools:
    """What every round of a sidecar needs."""

    legs: Legs
    roster: Roster
    dialect: Dialect
    own: OwnEngine
    prefill_timeout: Seconds
    clock: Callable[[], Seconds]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a round ended: the status for the books, and what the engine told."""

    code: int
    usage: Usage | None = None
    params: Params | None = None


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
                        await self.outlet.end()
                        return Verdict(self._status(200), self._usage(), params)
                    case x.Cut(failure):
                        message = f"the engine was lost while it answered: {failure}"
                        await self.outlet.cut(message, status=502)
                        return Verdict(502, self._usage())
                    case x.Fail(status, failure):
                        return Verdict(await self._refuse(status, failure))
                    case x.Abort():
                        return Verdict(499)
                    case _:
                        assert_never(command)
        except (asyncio.CancelledError, ClientGone):
            if self.exchange.state is not x.State.OVER:
                self.exchange.feed(x.ClientLeft())
            raise
        finally:
            self._close()

    async def _prefill(self, endpoint: str) -> x.PrefillDone | x.PrefillFailed:
        peer = self.tools.roster.peer(endpoint)
        if peer is None:
            return x.PrefillFailed(Failure.UNREACHABLE)
        leg = self.tools.dialect.prefill_leg(self.body, self.history)
        headers = [
            *self.inbound.headers,
            (LEG_HEADER, PREFILL_LEG),
            (TOKENS_HEADER, str(round(self.new_tokens))),
        ]
        try:
            async with asyncio.timeout(self.tools.prefill_timeout):
                answer = await self.tools.legs.open(
                    peer.url + self.inbound.target,
                    method="POST",
                    headers=headers,
                    content=orjson.dumps(leg),
                )
                try:
                    content = await answer.whole()
                finally:
                    answer.close()
        except TimeoutError:
            return x.PrefillFailed(Failure.TIMED_OUT)
        except LegFailed as error:
            if error.failure is Failure.UNREACHABLE:
                self.tools.roster.suspect(endpoint, now=self.tools.clock())
            return x.PrefillFailed(error.failure)
        self._hear(endpoint, answer)
        failure = failure_of(answer.status)
        if failure is not None:
            return x.PrefillFailed(failure)
        params = read_json(content).params
        if params is None or not usable_for_decode(params):
            return x.PrefillFailed(Failure.NO_PARAMS)
        return x.PrefillDone(params)

    async def _decode(self, params: Params | None) -> x.DecodeStarted | x.DecodeFailed:
        """Open the leg as a task of its own, so that a client that leaves cannot stop it half-sent."""
        task = asyncio.ensure_future(self._open_decode(params))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if params is not None:
                await asyncio.wait({task}, timeout=_HAND_OVER)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def _open_decode(self, params: Params | None) -> x.DecodeStarted | x.DecodeFailed:
        self._close()
        tokens = self.new_tokens if params is None else 0.0
        try:
            with self.tools.own.prefilling(tokens):
                self._answer = await self.tools.legs.open(
                    self.tools.own.url + self.inbound.target,
                    method="POST",
                    headers=self.inbound.headers,
                    content=self._decode_body(params),
                    replay=params is None,
                )
                streams = self._answer.streams
                self._held = await (self._answer.chunk() if streams else self._answer.whole())
        except LegFailed as error:
            kind = Failure.UNREACHABLE if error.failure is Failure.CUT else error.failure
            return x.DecodeFailed(kind)
        failure = failure_of(self._answer.status)
        if failure is not None:
            self._own_error = self._held
            return x.DecodeFailed(failure)
        if not self._held:
            return x.DecodeFailed(Failure.UNREACHABLE)
        if streams and params is not None and self._held.startswith(_FIRST_ERROR):
            return x.DecodeFailed(Failure.ENGINE_ERROR)
        return x.DecodeStarted()

    def _decode_body(self, params: Params | None) -> bytes:
        if params is not None:
            return orjson.dumps(self.tools.dialect.decode_leg(self.body, params))
        leg = self.body if self.plain else self.tools.dialect.local_round(self.body)
        return self.inbound.content if leg is self.inbound.body else orjson.dumps(leg)

    async def _stream(self) -> x.DecodeEnded | x.DecodeFailed:
        answer = self._answer
        if answer is None:
            raise RuntimeError("a stream without a decode leg")
        if not answer.streams:
            self._reading = read_json(self._held)
            await self.outlet.whole(answer.status, answer.headers, self._reading.content)
            return x.DecodeEnded(self._reading.params)
        await self.outlet.begin(answer.status, answer.headers)
        with self.tools.own.resident(self.context):
            return await self._copy(answer)

    async def _copy(self, answer: Answer) -> x.DecodeEnded | x.DecodeFailed:
        """Pass on each piece as it comes, and note the pace."""
        own, clock, reader = self.tools.own, self.tools.clock, self._reader
        await self.outlet.write(reader.feed(self._held))
        last, seen = clock(), reader.events
        while True:
            try:
                chunk = await answer.chunk()
            except LegFailed as error:
                return x.DecodeFailed(error.failure)
            if not chunk:
                break
            await self.outlet.write(reader.feed(chunk))
            now, events = clock(), reader.events - seen
            if events:
                own.itl.add((now - last) / events, now=now, weight=events)
                last, seen = now, reader.events
        await self.outlet.write(reader.flush())
        return x.DecodeEnded(reader.params)

    async def _refuse(self, status: int, failure: Failure) -> int:
        """The engine's own words where there are any."""
        if self._own_error is None or self._answer is None:
            await self.outlet.error(status, f"the engine gave no answer: {failure}", kind=failure)
            return status
        await self.outlet.whole(self._answer.status, self._answer.headers, self._own_error)
        return self._answer.status

    def _usage(self) -> Usage | None:
        return self._reading.usage if self._reading is not None else self._reader.usage

    def _status(self, good: int) -> int:
        return 502 if self._reader.failed else good

    def _hear(self, endpoint: str, answer: Answer) -> None:
        told = answer.header(LOAD_HEADER)
        load = parse_load_header(told, now=self.tools.clock()) if told else None
        if load is not None:
            self.tools.roster.heard(endpoint, load)

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()
        self._own_error = None
