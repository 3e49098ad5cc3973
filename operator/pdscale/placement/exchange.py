"""One round's life as a state machine: events in, commands out.

    remote:  Prefill -> PrefillDone -> Decode(params) -> DecodeStarted -> Stream -> DecodeEnded -> Finish
    local:                             Decode(None)   -> ...

A failed prefill falls back to the decode replica, which can always compute the prompt itself. So
does a decode leg that fails on the engine's side before its first byte while it had KV to fetch:
the KV is the likely culprit, and the parameters are spent in any case. Everything else that fails
before the first byte fails the round; after it, the stream is cut.

The router performs the commands and feeds back what happened; the simulator does the same in
virtual time. ``params`` are the engine's transfer parameters and opaque here. Engines whose legs start
at once have an exchange of their own (``exchange_at_once``) that speaks the same words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final

from pdscale.placement.policy import PlacementReason

Params = Mapping[str, Any]


class Failure(StrEnum):
    """What became of a leg that gave no answer worth using."""

    UNREACHABLE = "Unreachable"  # refused, reset, or gone before the first byte
    TIMED_OUT = "TimedOut"
    OVERLOADED = "Overloaded"  # 429 or 503: not a fault of the replica
    ENGINE_ERROR = "EngineError"  # any other 5xx
    REJECTED = "Rejected"  # 4xx: the request is at fault
    NO_PARAMS = "NoParams"  # an answer, but nothing to fetch KV with
    CUT = "Cut"  # ended after the first byte without being complete


class Leg(StrEnum):
    PREFILL = "prefill"
    DECODE = "decode"


STATUS: Final[Mapping[Failure, int]] = {
    Failure.UNREACHABLE: 502,
    Failure.TIMED_OUT: 504,
    Failure.OVERLOADED: 503,
    Failure.ENGINE_ERROR: 502,
    Failure.REJECTED: 400,
    Failure.NO_PARAMS: 502,
    Failure.CUT: 502,
}


@dataclass(frozen=True, slots=True)
class PrefillDone:
    params: Params


@dataclass(frozen=True, slots=True)
class PrefillFailed:
    kind: Failure = Failure.UNREACHABLE


@dataclass(frozen=True, slots=True)
class DecodeStarted:
    """The first byte of a good answer is here."""


@dataclass(frozen=True, slots=True)
class DecodeFailed:
    kind: Failure = Failure.UNREACHABLE


@dataclass(frozen=True, slots=True)
class DecodeEnded:
    """The answer is complete; ``params`` let a later prefill read this session's KV."""

    params: Params | None = None


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """Nobody waits for the answer any more."""


Event = PrefillDone | PrefillFailed | DecodeStarted | DecodeFailed | DecodeEnded | ClientLeft


@dataclass(frozen=True, slots=True)
class Prefill:
    """Run the prefill leg there and keep its answer."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Decode:
    """Run the decode leg there; ``params`` say where its KV lies, ``None`` means compute it."""

    endpoint: str
    params: Params | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """Pass the decode leg's bytes on."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The round is over; keep ``params`` for the session's next prefill."""

    params: Params | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Tell the client inside the stream that there will be no more."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with the own error of the engine of ``leg`` if it gave one, else with ``status``."""

    status: int
    failure: Failure
    leg: Leg = Leg.DECODE


@dataclass(frozen=True, slots=True)
class Abort:
    """Cancel whatever leg is open, so that no engine works for nobody or holds KV for nothing."""


Command = Prefill | Decode | Stream | Finish | Cut | Fail | Abort


class State(Enum):
    PREFILLING = "prefilling"
    DECODING = "decoding"
    STREAMING = "streaming"
    OVER = "over"


# To look a member up in its class costs as much as a call.
_PREFILLING: Final = State.PREFILLING
_DECODING: Final = State.DECODING
_STREAMING: Final = State.STREAMING
_OVER: Final = State.OVER

_STREAM: Final = Stream()


class Exchange:
    """Remote prefill, then decode; a failed prefill falls back to the decode replica."""

    def __init__(self, *, decode: str, prefill: str | None = None) -> None:
        self._decode = decode
        self._has_params = False
        self.fell_back: PlacementReason | None = None
        self.first: Prefill | Decode
        if prefill is None:
            self.state, self.first = _DECODING, Decode(decode)
        else:
            self.state, self.first = _PREFILLING, Prefill(prefill)

    def feed(self, event: Event) -> Command:
        state = self.state
        if state is not _OVER and isinstance(event, ClientLeft):
            return self._end(Abort())
        if state is _PREFILLING:
            return self._prefilled(event)
        if state is _DECODING:
            return self._begun(event)
        if state is _STREAMING:
            return self._ended(event)
        raise self._out_of_place(event)

    def _prefilled(self, event: Event) -> Command:
        match event:
            case PrefillDone(params):
                self.state, self._has_params = _DECODING, True
                return Decode(self._decode, params)
            case PrefillFailed():
                return self._fall_back(PlacementReason.PREFILL_FAILED)
        raise self._out_of_place(event)

    def _begun(self, event: Event) -> Command:
        match event:
            case DecodeStarted():
                self.state = _STREAMING
                return _STREAM
            case DecodeFailed(kind):
                if self._has_params and kind not in (Failure.REJECTED, Failure.OVERLOADED):
                    return self._fall_back(PlacementReason.TRANSFER_FAILED)
                return self._end(Fail(STATUS[kind], kind))
        raise self._out_of_place(event)

    def _ended(self, event: Event) -> Command:
        match event:
            case DecodeEnded(params):
                return self._end(Finish(params))
            case DecodeFailed(kind):
                return self._end(Cut(kind))
        raise self._out_of_place(event)

    def _out_of_place(self, event: Event) -> ValueError:
        return ValueError(f"{type(event).__name__} does not belong in state {self.state.value}")

    def _fall_back(self, reason: PlacementReason) -> Decode:
        self.state, self._has_params = _DECODING, False
        self.fell_back = reason
        return Decode(self._decode)

    def _end(self, command: Command) -> Command:
        self.state = _OVER
        return command
