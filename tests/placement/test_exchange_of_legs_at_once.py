"""Both legs of a round together: every state, every event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.placement.exchange import (
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
from pdscale.placement.exchange_at_once import Both, Command, ExchangeAtOnce, State, Wait
from pdscale.placement.policy import PlacementReason

DONE, STARTED, ENDED, LEFT = PrefillDone({}), DecodeStarted(), DecodeEnded(), ClientLeft()
LOST, BROKEN = PrefillFailed(Failure.UNREACHABLE), DecodeFailed(Failure.ENGINE_ERROR)
BUG = "a bug"


def at_once(*alternatives: str) -> ExchangeAtOnce:
    return ExchangeAtOnce(prefill="p-0", decode="d-0", alternatives=alternatives)


AGAIN = Both("p-1", "d-0")


def no_answer(leg: Leg, kind: Failure, status: int) -> Fail:
    return Fail(status, kind, leg)


BEFORE: dict[str, tuple[Event, ...]] = {
    "meeting": (),
    "decoding": (DONE,),
    "streaming": (STARTED,),
    "streaming after prefill": (DONE, STARTED),
    "over": (LEFT,),
}
# state -> one row per event -> command, with one alternative left.
CUT = Cut(Failure.ENGINE_ERROR)
TABLE: dict[str, tuple[tuple[Event, Command | str], ...]] = {
    "meeting": (
        (DONE, Wait()), (LOST, AGAIN), (STARTED, Stream()), (BROKEN, AGAIN), (ENDED, BUG), (LEFT, Abort()),
    ),
    "decoding": (
        (DONE, BUG), (LOST, BUG), (STARTED, Stream()), (BROKEN, AGAIN), (ENDED, BUG), (LEFT, Abort()),
    ),
    "streaming": (
        (DONE, Wait()), (LOST, Wait()), (STARTED, BUG), (BROKEN, CUT), (ENDED, Finish()), (LEFT, Abort()),
    ),
    "streaming after prefill": (
        (STARTED, BUG), (BROKEN, CUT), (ENDED, Finish()), (LEFT, Abort()),
    ),
    "over": ((DONE, BUG), (LOST, BUG), (STARTED, BUG), (BROKEN, BUG), (ENDED, BUG), (LEFT, BUG)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("state", "event", "command"),
    [pytest.param(s, e, c, id=f"{s}-{type(e).__name__}") for s, row in TABLE.items() for e, c in row],
)
def test_every_state_has_an_answer_to_every_event(state: str, event: Event, command: Command | str) -> None:
    exchange = at_once("p-1")
    assert exchange.first == Both("p-0", "d-0")
    for earlier in BEFORE[state]:
        exchange.feed(earlier)
    if command == BUG:
        with pytest.raises(ValueError, match="does not belong in state"):
            exchange.feed(event)
    else:
        assert exchange.feed(event) == command


@pytest.mark.parametrize(
    ("event", "end"),
    [
        (PrefillFailed(Failure.UNREACHABLE), no_answer(Leg.PREFILL, Failure.UNREACHABLE, 502)),
        (PrefillFailed(Failure.TIMED_OUT), no_answer(Leg.PREFILL, Failure.TIMED_OUT, 504)),
        (PrefillFailed(Failure.OVERLOADED), no_answer(Leg.PREFILL, Failure.OVERLOADED, 503)),
        (PrefillFailed(Failure.ENGINE_ERROR), no_answer(Leg.PREFILL, Failure.ENGINE_ERROR, 502)),
        (PrefillFailed(Failure.CUT), no_answer(Leg.PREFILL, Failure.CUT, 502)),
        (DecodeFailed(Failure.ENGINE_ERROR), no_answer(Leg.DECODE, Failure.ENGINE_ERROR, 502)),
    ],
)
def test_a_leg_that_fails_is_tried_once_more_elsewhere_and_then_the_round_fails(
    event: Event, end: Fail
) -> None:
    exchange = at_once("p-0", "p-1", "p-2")  # whoever is asked already is no alternative
    assert exchange.feed(event) == AGAIN
    assert (exchange.prefill, exchange.state) == ("p-1", State.MEETING)
    assert exchange.feed(event) == end
    assert at_once().feed(event) == end


@pytest.mark.parametrize(
    ("event", "leg", "status"),
    [
        pytest.param(PrefillFailed(Failure.REJECTED), Leg.PREFILL, 400, id="the request is at fault"),
        pytest.param(DecodeFailed(Failure.REJECTED), Leg.DECODE, 400, id="at fault, says decode"),
        pytest.param(DecodeFailed(Failure.OVERLOADED), Leg.DECODE, 503, id="the decode replica is full"),
        pytest.param(DecodeFailed(Failure.UNREACHABLE), Leg.DECODE, 502, id="the decode replica is gone"),
        pytest.param(DecodeFailed(Failure.TIMED_OUT), Leg.DECODE, 504, id="the time is over"),
    ],
)  # fmt: skip
def test_what_another_prefill_replica_cannot_mend_is_not_tried_again(
    event: Event, leg: Leg, status: int
) -> None:
    command = at_once("p-1").feed(event)
    assert isinstance(command, Fail)
    assert (command.leg, command.status) == (leg, status)


def test_the_reason_of_a_second_attempt_is_kept() -> None:
    exchange = at_once("p-1")
    assert exchange.retried is None
    exchange.feed(LOST)
    assert exchange.retried is PlacementReason.PREFILL_FAILED
    exchange = at_once("p-1")
    exchange.feed(DONE)
    exchange.feed(BROKEN)
    assert exchange.retried is PlacementReason.TRANSFER_FAILED


EVENTS: list[Event] = [DONE, STARTED, ENDED, LEFT]
EVENTS += [PrefillFailed(kind) for kind in Failure] + [DecodeFailed(kind) for kind in Failure]


@given(st.lists(st.sampled_from(EVENTS), max_size=14), st.integers(0, 3))
def test_every_story_ends_once_and_starts_at_most_two_attempts(events: list[Event], others: int) -> None:
    exchange = at_once(*(f"p-{i + 1}" for i in range(others)))
    commands: list[Command] = [exchange.first]
    for event in events:
        try:
            commands.append(exchange.feed(event))
        except ValueError:
            continue
    attempts = [c for c in commands if isinstance(c, Both)]
    assert len({c.prefill for c in attempts}) == len(attempts) <= 2
    ends = [i for i, c in enumerate(commands) if isinstance(c, Finish | Cut | Fail | Abort)]
    assert ends in ([], [len(commands) - 1])
    streamed = [i for i, c in enumerate(commands) if isinstance(c, Stream)]
    assert len(streamed) <= 1
    if streamed:  # after the first byte nobody is asked again
        assert not any(isinstance(c, Both) for c in commands[streamed[0] :])
