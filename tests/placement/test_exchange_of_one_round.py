"""A round's events and commands, without any I/O."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.placement.exchange import (
    Abort,
    ClientLeft,
    Cut,
    Decode,
    DecodeEnded,
    DecodeFailed,
    DecodeStarted,
    Event,
    Exchange,
    Fail,
    Failure,
    Finish,
    Prefill,
    PrefillDone,
    PrefillFailed,
    State,
    Stream,
)
from pdscale.placement.policy import PlacementReason

PARAMS = {"remote_block_ids": [[1]]}
KEPT = {"remote_block_ids": [[2]]}


def remote() -> Exchange:
    return Exchange(prefill="p-0", decode="d-1")


def test_a_remote_round_carries_its_parameters_from_leg_to_leg() -> None:
    exchange = remote()
    assert exchange.first == Prefill("p-0")
    assert exchange.feed(PrefillDone(PARAMS)) == Decode("d-1", PARAMS)
    assert exchange.feed(DecodeStarted()) == Stream()
    assert exchange.feed(DecodeEnded(KEPT)) == Finish(KEPT)
    assert exchange.fell_back is None


def test_a_local_round_starts_with_decode() -> None:
    exchange = Exchange(decode="d-1")
    assert exchange.first == Decode("d-1")
    assert exchange.feed(DecodeStarted()) == Stream()
    assert exchange.feed(DecodeEnded()) == Finish()


@pytest.mark.parametrize("kind", list(Failure))
def test_any_failed_prefill_falls_back_to_the_decode_replica(kind: Failure) -> None:
    exchange = remote()
    assert exchange.feed(PrefillFailed(kind)) == Decode("d-1")
    assert exchange.fell_back is PlacementReason.PREFILL_FAILED


def test_a_decode_leg_that_may_have_lost_its_kv_is_tried_once_more_without() -> None:
    exchange = remote()
    exchange.feed(PrefillDone(PARAMS))
    assert exchange.feed(DecodeFailed(Failure.ENGINE_ERROR)) == Decode("d-1")
    assert exchange.fell_back is PlacementReason.TRANSFER_FAILED
    assert exchange.feed(DecodeFailed(Failure.ENGINE_ERROR)) == Fail(502, Failure.ENGINE_ERROR)


@pytest.mark.parametrize(("kind", "status"), [(Failure.REJECTED, 400), (Failure.OVERLOADED, 503)])
def test_a_refusal_is_not_tried_again(kind: Failure, status: int) -> None:
    exchange = remote()
    exchange.feed(PrefillDone(PARAMS))
    assert exchange.feed(DecodeFailed(kind)) == Fail(status, kind)


def test_after_the_first_byte_there_is_no_way_back() -> None:
    exchange = Exchange(decode="d-1")
    exchange.feed(DecodeStarted())
    assert exchange.feed(DecodeFailed(Failure.CUT)) == Cut(Failure.CUT)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param((), id="before the prefill's answer"),
        pytest.param((PrefillDone(PARAMS),), id="between the legs"),
        pytest.param((PrefillDone(PARAMS), DecodeStarted()), id="mid-stream"),
    ],
)
def test_a_client_may_leave_at_any_time(before: tuple[Event, ...]) -> None:
    exchange = remote()
    for event in before:
        exchange.feed(event)
    assert exchange.feed(ClientLeft()) == Abort()
    assert exchange.state is State.OVER


EVENTS: list[Event] = [
    PrefillDone(PARAMS),
    PrefillFailed(),
    DecodeStarted(),
    DecodeFailed(),
    DecodeEnded(),
    ClientLeft(),
]


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ((), DecodeStarted()),
        ((), DecodeEnded()),
        ((PrefillDone(PARAMS),), PrefillDone(PARAMS)),
        ((PrefillDone(PARAMS),), DecodeEnded()),
        ((PrefillFailed(), DecodeStarted()), PrefillFailed()),
        ((ClientLeft(),), ClientLeft()),
    ],
)
def test_an_event_out_of_place_is_a_bug(before: tuple[Event, ...], wrong: Event) -> None:
    exchange = remote()
    for event in before:
        exchange.feed(event)
    with pytest.raises(ValueError, match="does not belong in state"):
        exchange.feed(wrong)


@given(st.lists(st.sampled_from(EVENTS), max_size=12), st.booleans())
def test_every_story_ends_and_parameters_are_commanded_once(events: list[Event], far: bool) -> None:
    exchange = remote() if far else Exchange(decode="d-1")
    commands: list[object] = [exchange.first]
    for event in events:
        try:
            commands.append(exchange.feed(event))
        except ValueError:
            continue
    assert sum(isinstance(c, Decode) and c.params is not None for c in commands) <= 1
    ends = [i for i, c in enumerate(commands) if isinstance(c, Finish | Cut | Fail | Abort)]
    assert ends in ([], [len(commands) - 1])
