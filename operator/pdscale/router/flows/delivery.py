"""A decode leg's answer on its way to the client: passed on, read in passing, or replaced by an error.

The same for every exchange: how the legs came about does not matter any more once there is an answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pdscale.engines.answers import Reading, StreamReader, Usage, read_json
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.exchange import DecodeEnded, DecodeFailed, Failure, Leg, Params
from pdscale.router.fleet.own import OwnEngine
from pdscale.router.hop.inbound import ENGINE_DOWN, REFUSED_HEADER
from pdscale.router.hop.legs import Answer, LegFailed
from pdscale.router.hop.outlet import Outlet
from pdscale.router.hop.pace import Pace

_REFUSED: Final = REFUSED_HEADER.encode()


@dataclass(slots=True)
class Verdict:
    """How a round ended: the status for the books, and what the engine told."""

    code: int
    usage: Usage | None = None
    params: Params | None = None
    first_token: Seconds | None = None  # of a stream; an answer in one piece does not show it


@dataclass(frozen=True, slots=True)
class EngineError:
    """An engine's own error, as it gave it."""

    status: int
    headers: bytes
    content: bytes


@dataclass(slots=True)
class Delivery:
    """One client's answer."""

    outlet: Outlet
    own: OwnEngine
    clock: Callable[[], Seconds]
    hide_usage: bool
    _reading: Reading | None = None
    _first_token: Seconds | None = None
    _reader: StreamReader | None = None  # of a stream

    async def deliver(self, answer: Answer, held: bytes, *, context: Tokens) -> DecodeEnded | DecodeFailed:
        """Pass a good answer on, of which ``held`` is here: all of it, or a stream's beginning."""
        if not answer.streams:
            self._reading = read_json(held)
            self.outlet.whole(answer.status, answer.headers, self._reading.content)
            return DecodeEnded(self._reading.params)
        self._first_token = self.clock()
        self.outlet.begin(answer.status, answer.headers)
        reader = self._reader = StreamReader(hide_usage=self.hide_usage)
        pace = Pace(reader, self.outlet, self.own.itl, self.clock)
        pace.first(held)
        self.own.resident_tokens += context
        try:
            through = pace.through if self.outlet.takes_chunks else None
            await answer.relay(pace.take, self.outlet, through)
        except LegFailed as error:
            return DecodeFailed(error.failure)
        finally:
            self.own.resident_tokens -= context
            pace.note(self.clock())
        self.outlet.write(reader.flush())
        return DecodeEnded(reader.params)

    @property
    def streamed(self) -> bool:
        return self._reader is not None

    def finish(self, params: Params | None = None) -> Verdict:
        """The answer is complete; an error inside of a stream is one for the books, too."""
        if self.streamed:
            self.outlet.end()
        failed = self._reader is not None and self._reader.failed
        return Verdict(502 if failed else 200, self._usage(), params, self._first_token)

    def cut(self, failure: Failure) -> Verdict:
        self.outlet.cut(f"the engine was lost while it answered: {failure}", status=502)
        return Verdict(502, self._usage())

    def fail(
        self,
        status: int,
        failure: Failure,
        told: EngineError | None,
        *,
        leg: Leg = Leg.DECODE,
        sent: bool = True,
    ) -> Verdict:
        """The engine's own words where there are any. ``sent``: an engine may have had the request."""
        if told is not None:
            self.outlet.whole(told.status, told.headers, told.content)
            return Verdict(told.status)
        # Nothing of it is with the client, so that another replica may try, if it is this one that is lost.
        lost = failure is Failure.UNREACHABLE and leg is Leg.DECODE
        why = failure if sent else ENGINE_DOWN
        own = b"%b: %b\r\n" % (_REFUSED, why.encode()) if lost else b""
        self.outlet.error(status, f"the engine gave no answer: {failure}", kind=failure, own=own)
        return Verdict(status)

    def _usage(self) -> Usage | None:
        told = self._reading or self._reader
        return None if told is None else told.usage
