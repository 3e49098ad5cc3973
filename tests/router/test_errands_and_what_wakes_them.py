"""A request's coroutine without a task: when it runs, what it may wait for, how it hears of a leaving."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pdscale.router.wire.errand import Errand, Wake
from pdscale.router.wire.turns import Turns

Start = Callable[[], Awaitable[object]]


async def noting(notes: list[str], start: Start) -> None:
    notes.append("begun")
    try:
        await start()
        notes.append("woken")
    except asyncio.CancelledError:
        notes.append("told")
        raise
    finally:
        notes.append("over")


async def test_an_errand_runs_at_once_and_goes_on_inside_of_the_call_that_wakes_it() -> None:
    wake, notes = Wake(), list[str]()

    async def wait() -> None:
        await wake

    Errand(noting(notes, wait), Turns(lambda: 0.0))
    assert notes == ["begun"]
    wake.wake()
    assert notes == ["begun", "woken", "over"]
    wake.wake()


@pytest.mark.parametrize("kind", ["wake", "future", "task", "sleep"])
async def test_a_client_that_leaves_is_heard_of_wherever_the_errand_waits(kind: str) -> None:
    wake, future = Wake(), asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(asyncio.sleep(60))

    async def wait() -> None:
        if kind == "sleep":
            await asyncio.sleep(0)
        else:
            await {"wake": wake, "future": future, "task": task}[kind]

    notes: list[str] = []
    errand = Errand(noting(notes, wait), Turns(lambda: 0.0))
    errand.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert notes == ["begun", "told", "over"]
    errand.cancel()
    task.cancel()


async def test_what_an_errand_does_on_its_way_out_may_wait_again() -> None:
    first, second, notes = Wake(), Wake(), list[str]()

    async def wait() -> None:
        try:
            await first
        finally:
            await second
            notes.append("cleaned")

    errand = Errand(noting(notes, wait), Turns(lambda: 0.0))
    errand.cancel()
    assert notes == ["begun"]
    second.wake()
    assert notes == ["begun", "cleaned", "told", "over"]


async def test_a_client_that_leaves_when_the_answer_has_come_is_heard_of_at_the_next_wait() -> None:
    future = asyncio.get_running_loop().create_future()
    notes: list[str] = []

    async def wait() -> None:
        await future

    errand = Errand(noting(notes, wait), Turns(lambda: 0.0))
    future.set_result(None)
    errand.cancel()
    await asyncio.sleep(0)
    assert notes == ["begun", "told", "over"]


async def test_a_task_may_wait_for_a_wake_and_goes_on_when_its_loop_sees_to_it() -> None:
    wake, notes = Wake(), list[str]()

    async def wait() -> None:
        await wake

    task = asyncio.ensure_future(noting(notes, wait))
    await asyncio.sleep(0)
    wake.wake()
    assert notes == ["begun"]
    await task
    assert notes == ["begun", "woken", "over"]


async def test_a_task_that_waits_for_a_wake_can_be_cancelled_and_can_be_late() -> None:
    wake = Wake()

    async def wait() -> None:
        async with asyncio.timeout(0.001):
            await wake

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(), 5)


async def test_a_burst_is_begun_in_order_and_in_turns_with_what_else_the_loop_has_to_do() -> None:
    loop, turns, notes = asyncio.get_running_loop(), Turns(lambda: 0.0, at_once=2), list[str]()

    async def serve(name: str) -> None:
        notes.append(name)

    def token() -> None:
        notes.append("-")
        if len(notes) < 8:
            loop.call_soon(token)

    loop.call_soon(token)
    for name in "abcde":
        Errand(serve(name), turns)
    assert notes == ["a", "b"]
    for _ in range(8):
        await asyncio.sleep(0)
    assert "".join(notes) == "ab-cd-e-"


async def test_a_client_that_leaves_while_its_request_waits_for_a_turn_is_not_served() -> None:
    turns, notes, wake = Turns(lambda: 0.0, at_once=1), list[str](), Wake()

    async def wait() -> None:
        await wake

    Errand(noting([], wait), turns)
    late = Errand(noting(notes, wait), turns)
    late.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert notes == []


async def test_a_round_of_the_loop_that_comes_later_has_its_own_turns() -> None:
    now, served = [0.0], list[str]()

    async def serve(name: str) -> None:
        served.append(name)

    turns = Turns(lambda: now[0], at_once=1)
    Errand(serve("a"), turns)
    now[0] = 0.001
    Errand(serve("b"), turns)
    assert served == ["a", "b"]
    Errand(serve("c"), turns)
    now[0] = 0.002
    Errand(serve("d"), turns)
    assert served == ["a", "b"], "who comes later does not come first"
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert served == list("abcd")


async def test_answers_that_arrive_at_once_take_turns_too_and_come_before_new_requests() -> None:
    now, notes = [0.0], list[str]()
    turns = Turns(lambda: now[0], at_once=2)
    wakes = {name: Wake() for name in "abc"}

    async def serve(name: str) -> None:
        if name in wakes:
            await wakes[name]
        notes.append(name)

    for round_, name in enumerate("abc"):
        now[0] = float(round_)
        Errand(serve(name), turns)
    now[0] = 3.0
    for name in "wxyz":
        Errand(serve(name), turns)
    for wake in wakes.values():
        wake.wake()
    assert notes == ["w", "x"]
    seen = []
    for _ in range(3):
        await asyncio.sleep(0)
        seen.append("".join(notes[2:]))
    assert seen == ["ab", "abcy", "abcyz"]


async def test_a_client_that_leaves_while_its_answer_waits_for_a_turn_is_heard_of() -> None:
    turns, notes, wake = Turns(lambda: 0.0, at_once=1), list[str](), Wake()

    async def wait() -> None:
        await wake

    errand = Errand(noting(notes, wait), turns)
    wake.wake()
    assert notes == ["begun"], "its first step was all that this round takes"
    errand.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert notes == ["begun", "told", "over"]
