"""One round's life where both legs start together and meet inside the engines (SGLang).

    Both(p, d) -> PrefillDone -> Wait -> DecodeStarted -> Stream -> DecodeEnded -> Finish
                  DecodeStarted -> Stream -> ...          the prefill's answer may come after the first byte

Neither leg can do without the other, and each waits minutes for one that is gone. So the first of them that
fails before the client's first byte ends both, and the round is tried once more on another prefill replica
in a fresh room: unless the request is at fault, the decode replica is (it is the session's, and there is no
other here), or nobody is left to try. From the first byte on the KV has moved, and the prefill leg no longer
matters.

How to drive it. ``first`` is the first command; every event that is fed gives the next.

``Both``    Cancel whatever is still open of an attempt before. Take fresh meeting parameters for this prefill
            replica. Start both legs at the same time and wait for whichever event comes first:
            ``PrefillDone({})``  the prefill leg's answer is good and read to its end;
            ``PrefillFailed``    it is not, or there is none;
            ``DecodeStarted``    the first byte of a good answer is here, or all of one that is no stream;
            ``DecodeFailed``     there is no good answer.
            Feed one event at a time, and none of an attempt that a later command has ended. Keep each leg's
            own error body until then.
``Wait``    Nothing to do: wait for the other leg's event.
``Stream``  Pass the decode leg's bytes on, and go on reading the prefill leg's answer in the background, for
            otherwise its engine stops at a full socket. Its event may be fed or dropped. Feed ``DecodeEnded``
            or ``DecodeFailed``.
``Finish``, ``Cut``, ``Fail``, ``Abort``
            End the round. Cancel every leg that is still open by breaking its connection, so that its engine
            aborts; only then answer. After ``Finish`` the prefill leg may be read on for a moment: its
            work is done. ``Fail.leg`` says whose error body the client gets.

``ClientLeft`` may be fed at any time before the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pdscale.placement.exchange import (
    STATUS,
    Abort,
    ClientLeft,
    Cut,
    DecodeEnded,
    DecodeFailed,
    DecodeStarted,
    Event,
    Fail,
    Failure,
    Finish,
    Leg,
    PrefillDone,
    PrefillFailed,
    Stream,
)
from pdscale.placement.policy import PlacementReason

# On a decode leg these may be the other leg's doing, or the transfer's.
_MAYBE_THE_KV = (Failure.ENGINE_ERROR,)


@dataclass(frozen=True, slots=True)
class Both:
    """Start the two legs together."""

    prefill: str
    decode: str


@dataclass(frozen=True, slots=True)
class Wait:
    """One leg has done its part; the other's event is awaited."""


Command = Both | Wait | Stream | Finish | Cut | Fail | Abort


class State(Enum):
    MEETING = "meeting"  # both legs open, nothing heard
    DECODING = "decoding"  # the prefill leg is done
    STREAMING = "streaming"
    OVER = "over"


class ExchangeAtOnce:
    """Both legs together; of ``alternatives``, further prefill replicas, best first, one may be tried.

    ``prefill`` is the replica of the present attempt, ``retried`` why it is not the first one.
    """

    def __init__(self, *, decode: str, prefill: str, alternatives: Sequence[str] = ()) -> None:
        self._decode = decode
        self._alternative = next((name for name in alternatives if name != prefill), None)
        self.prefill = prefill
        self.retried: PlacementReason | None = None
        self.state = State.MEETING
        self.first = Both(prefill, decode)

    def feed(self, event: Event) -> Command:
        match self.state, event:
            case State.MEETING, PrefillDone():
                self.state = State.DECODING
                return Wait()
            case State.MEETING, PrefillFailed(kind):
                if kind is Failure.REJECTED:
                    return self._fail(kind, Leg.PREFILL)
                return self._again(PlacementReason.PREFILL_FAILED) or self._fail(kind, Leg.PREFILL)
            case ((State.MEETING | State.DECODING), DecodeStarted()):
                self.state = State.STREAMING
                return Stream()
            case ((State.MEETING | State.DECODING), DecodeFailed(kind)):
                again = self._again(PlacementReason.TRANSFER_FAILED) if kind in _MAYBE_THE_KV else None
                return again or self._fail(kind, Leg.DECODE)
            case State.STREAMING, (PrefillDone() | PrefillFailed()):
                return Wait()
            case State.STREAMING, DecodeFailed(kind):
                return self._end(Cut(kind))
            case State.STREAMING, DecodeEnded():
                return self._end(Finish())
            case ((State.MEETING | State.DECODING | State.STREAMING), ClientLeft()):
                return self._end(Abort())
        raise ValueError(f"{type(event).__name__} does not belong in state {self.state.value}")

    def _again(self, reason: PlacementReason) -> Both | None:
        if self._alternative is None:
            return None
        self.prefill, self._alternative = self._alternative, None
        self.state, self.retried = State.MEETING, reason
        return Both(self.prefill, self._decode)

    def _fail(self, kind: Failure, leg: Leg) -> Command:
        return self._end(Fail(STATUS[kind], kind, leg))

    def _end(self, command: Command) -> Command:
        self.state = State.OVER
        return command
