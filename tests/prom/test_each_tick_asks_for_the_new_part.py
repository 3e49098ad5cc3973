"""A history is read once: later ticks ask for what is new, and know what a fresh reader would know."""

import asyncio
import itertools
import math
from array import array
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.prometheus import Asked, FakePrometheus, Slow, Status
from pdscale.prom.access import Access
from pdscale.prom.client import MEASURES, PrometheusHistory
from pdscale.prom.errors import MetricsUnavailable
from pdscale.prom.grid import PAGE, Grid
from pdscale.prom.memory import REREAD, Memories, Memory
from pdscale.scaling.history import History

STEP = 15.0
NOW = 1_000_007.9


@pytest.fixture
async def server() -> AsyncIterator[FakePrometheus]:
    async with FakePrometheus() as server:
        server.measures["request_rate"] = lambda t: t
        yield server


@pytest.fixture
async def reader(server: FakePrometheus) -> AsyncIterator[PrometheusHistory]:
    reader = PrometheusHistory(Access(server.url, timeout=20.0))
    yield reader
    reader.close()


async def _read(
    reader: PrometheusHistory, now: float, *, window: float = 1800, step: float = STEP
) -> History:
    return await reader.history(namespace="prod", name="chat", window=window, step=step, now=now)


def _instants(asked: Asked) -> int:
    start, end, step = (float(asked.parameters[name]) for name in ("start", "end", "step"))
    return round((end - start) / step) + 1


async def test_the_first_tick_asks_for_everything_and_the_next_for_what_may_still_change(
    server: FakePrometheus, reader: PrometheusHistory
) -> None:
    await _read(reader, NOW)
    history = await _read(reader, NOW + STEP)
    # A minute that may still change, and one new instant.
    assert [_instants(asked) for asked in server.asked] == [120, 4 + 1]
    assert history.request_rate.values == tuple(1_000_020.0 - STEP * i for i in reversed(range(120)))


async def test_a_sample_that_comes_late_is_seen_while_it_may_still_change(
    server: FakePrometheus, reader: PrometheusHistory
) -> None:
    server.measures["request_rate"] = lambda t: None if t > NOW - 40 else 1.0
    assert (await _read(reader, NOW)).request_rate.known == 117
    server.measures["request_rate"] = 1.0
    assert (await _read(reader, NOW)).request_rate.known == 120


async def test_a_gap_that_fills_later_is_seen_within_an_hour(
    server: FakePrometheus, reader: PrometheusHistory
) -> None:
    server.measures["request_rate"] = lambda t: None if t < NOW else 1.0
    await _read(reader, NOW, window=7200)
    server.measures["request_rate"] = 1.0
    assert (await _read(reader, NOW + 600, window=7200)).request_rate.known < 60
    assert (await _read(reader, NOW + REREAD, window=7200)).request_rate.known == 480


async def test_a_long_history_comes_in_pages(server: FakePrometheus, reader: PrometheusHistory) -> None:
    history = await _read(reader, NOW, window=2.5 * PAGE * STEP)
    assert [_instants(asked) for asked in server.asked] == [PAGE, PAGE, PAGE // 2]
    assert len(history.request_rate.values) == 2.5 * PAGE
    assert all(b - a == STEP for a, b in itertools.pairwise(history.request_rate.values))


async def test_after_a_page_that_failed_the_next_tick_goes_on_behind_it(
    server: FakePrometheus, reader: PrometheusHistory
) -> None:
    def fails_on_the_second(t: float) -> float:
        if len(server.asked) == 2:
            server.fault = Status(503)
        return t

    server.measures["request_rate"] = fails_on_the_second
    with pytest.raises(MetricsUnavailable):
        await _read(reader, NOW, window=2 * PAGE * STEP)
    with pytest.raises(MetricsUnavailable):
        await _read(reader, NOW, window=2 * PAGE * STEP)
    server.fault, server.measures["request_rate"] = None, lambda t: t
    history = await _read(reader, NOW, window=2 * PAGE * STEP)
    assert history.request_rate.known == 2 * PAGE
    pages = [(float(asked.parameters["start"]), _instants(asked)) for asked in server.asked]
    assert [n for _, n in pages].count(PAGE) == len(pages)
    assert len({start for start, _ in pages}) == 2


async def test_a_reader_that_runs_out_of_time_keeps_the_pages_that_came(
    server: FakePrometheus, reader: PrometheusHistory
) -> None:
    def hangs_on_the_second(t: float) -> float:
        if len(server.asked) == 2:
            server.fault = Slow(3600)
        return t

    server.measures["request_rate"] = hangs_on_the_second
    reading = asyncio.create_task(_read(reader, NOW, window=2 * PAGE * STEP))
    async with asyncio.timeout(20):
        while len(server.asked) < 2:  # noqa: ASYNC110  what is waited for is state of a server
            await asyncio.sleep(0.02)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    server.fault, server.measures["request_rate"] = None, lambda t: t
    history = await _read(reader, NOW, window=2 * PAGE * STEP)
    assert history.request_rate.known == 2 * PAGE
    first, second, again = (float(asked.parameters["start"]) for asked in server.asked)
    assert first < second == again


async def test_another_question_has_a_memory_of_its_own(
    server: FakePrometheus, reader: PrometheusHistory
) -> None:
    await _read(reader, NOW)
    await _read(reader, NOW, step=30.0)
    assert [_instants(asked) for asked in server.asked] == [120, 60]


async def test_queries_of_the_users_replace_ours_and_know_the_window(
    server: FakePrometheus, reader: PrometheusHistory
) -> None:
    mine = {"request_rate": "sum(rate(my_requests[$window])) # mine"}
    await reader.history(namespace="prod", name="chat", window=1800, step=STEP, now=NOW, overrides=mine)
    query = server.asked[0].parameters["query"]
    assert 'label_replace((sum(rate(my_requests[60s])) # mine\n), "measure", "request_rate"' in query
    assert "pdscale_router_requests_received_total" not in query
    with pytest.raises(ValueError, match="queries: request_rat must be one of request_rate, "):
        await reader.history(
            namespace="p", name="c", window=1800, step=STEP, now=NOW, overrides={"request_rat": "1"}
        )


def _told(grid: Grid) -> dict[str, "array[float]"]:
    values = [math.nan if (grid.first + i) % 7 == 0 else float(grid.first + i) for i in range(grid.samples)]
    return dict.fromkeys(MEASURES, array("d", values))


@given(st.lists(st.floats(-200, 5000), max_size=30), st.integers(1, 50), st.integers(1, 20))
def test_whatever_the_clock_does_the_memory_knows_what_a_fresh_reader_knows(
    moves: list[float], samples: int, page: int
) -> None:
    memory, now = Memory(MEASURES, settling=60.0), NOW
    for move in [0.0, *moves]:
        now += move
        grid = Grid.ending(now, window=samples * STEP, step=STEP)
        for part in memory.wanting(grid).pages(page):
            memory.take(part, _told(part))
        known, fresh = memory.on(grid), _told(grid)
        assert {name: repr(column) for name, column in known.items()} == {
            name: repr(column) for name, column in fresh.items()
        }
        assert all(len(column) == samples for column in memory.columns.values())


def test_a_memory_grows_with_its_window_and_not_with_time() -> None:
    memory = Memory(MEASURES, settling=60.0)
    for day in range(365):
        grid = Grid.ending(NOW + day * 86_400, window=1800, step=STEP)
        for part in memory.wanting(grid).pages():
            memory.take(part, _told(part))
    assert sum(len(column) for column in memory.columns.values()) == 120 * len(MEASURES)


def test_questions_that_nobody_asks_any_more_are_forgotten() -> None:
    memories = Memories(forget_after=100.0)
    first = memories.of(("a",), MEASURES, settling=60.0, now=0.0)
    memories.of(("b",), MEASURES, settling=60.0, now=90.0)
    assert memories.of(("a",), MEASURES, settling=60.0, now=95.0) is first
    memories.of(("a",), MEASURES, settling=60.0, now=191.0)
    assert len(memories) == 1


def test_forgetting_keeps_up_however_many_questions_are_new() -> None:
    memories = Memories(forget_after=100.0)
    for n in range(300):
        memories.of((n,), MEASURES, settling=60.0, now=float(n))
    assert len(memories) == 101
