"""What a sidecar tells of its sessions: how long they pause, and how many would lose their KV with it."""

import pytest

from fakes.fleet import eventually, running_fleet
from pdscale.router.flows.session_gaps import LIVE, SessionGaps


def gaps(told: list[float], **more: int) -> SessionGaps:
    return SessionGaps(told.append, **more)


def one_round(seen: SessionGaps, session: str, start: float, end: float, *, answered: bool = True) -> None:
    seen.began(session, start)
    seen.ended(session, end, answered=answered)


def test_a_pause_lasts_from_the_end_of_a_round_to_the_start_of_the_next() -> None:
    told: list[float] = []
    seen = gaps(told)
    one_round(seen, "s", 0.0, 4.0)
    one_round(seen, "other", 5.0, 6.0)
    one_round(seen, "s", 34.0, 40.0)
    one_round(seen, "s", 41.5, 42.0)
    assert told == [30.0, 1.5]


def test_a_round_beside_an_open_one_ends_no_pause() -> None:
    told: list[float] = []
    seen = gaps(told)
    seen.began("s", 0.0)
    seen.began("s", 1.0)
    seen.ended("s", 2.0, answered=True)
    seen.began("s", 3.0)
    seen.ended("s", 4.0, answered=True)
    seen.ended("s", 5.0, answered=True)
    assert told == []
    seen.began("s", 7.0)
    assert told == [2.0]


def test_a_round_without_an_answer_begins_no_pause() -> None:
    told: list[float] = []
    seen = gaps(told)
    one_round(seen, "s", 0.0, 1.0, answered=False)
    seen.began("s", 2.0)
    assert told == []


def test_sessions_count_while_they_are_open_or_ended_lately() -> None:
    seen = gaps([])
    assert seen.live(0.0) == 0
    one_round(seen, "a", 0.0, 1.0)
    one_round(seen, "b", 2.0, 3.0)
    seen.began("c", 4.0)
    assert seen.live(5.0) == 3
    assert seen.live(1.0 + LIVE) == 2
    assert seen.live(3.0 + LIVE) == 1


def test_the_longest_silent_sessions_are_forgotten_first() -> None:
    told: list[float] = []
    seen = gaps(told, capacity=2)
    for number, session in enumerate("abc"):
        one_round(seen, session, number, number + 0.5)
    seen.began("a", 10.0)
    assert told == []
    seen.began("c", 10.0)
    assert told == [7.5]


@pytest.mark.parametrize("stream", [False, True])
async def test_sidecars_export_live_sessions_and_their_pauses(stream: bool) -> None:
    async with running_fleet() as fleet:
        sidecar = fleet.sidecars["d-0"]
        count = 'session_gap_seconds_count{place="sidecar"}'
        assert await fleet.metric(sidecar, "live_sessions") == 0.0
        for _ in range(3):
            assert (await fleet.chat(headers={"X-Session-ID": "s"}, stream=stream)).status == 200
        assert await fleet.metric(sidecar, count) == 2.0
        assert await fleet.metric(sidecar, "live_sessions") == 1.0


async def test_the_kv_in_use_is_the_engines_own_word() -> None:
    async with running_fleet() as fleet:
        router = fleet.sidecars["d-0"]
        own = router._own
        assert own is not None
        await eventually(lambda: own.gauges.seen_at > 0, what="the engine was asked")
        assert await fleet.metric(router, "kv_usage_ratio") == own.gauges.kv_usage
