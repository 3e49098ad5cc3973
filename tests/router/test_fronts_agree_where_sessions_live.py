"""Several front routers, one set of sessions: the decode replicas' sidecars are what they agree through."""

import pytest

from fakes.fleet import Fleet, eventually, running_fleet
from pdscale.placement.session_log import Served
from pdscale.router.fleet.whereabouts import format_served, read_served


def homes(fleet: Fleet) -> dict[str, str]:
    """Session -> the engine that was asked last."""
    return {
        seen.headers["x-session-id"]: name
        for name, engine in fleet.engines.items()
        for seen in engine.seen
        if name.startswith("d-")
    }


async def test_a_front_that_starts_later_sends_every_session_to_where_it_lives() -> None:
    async with running_fleet(decode=3) as fleet:
        sessions = [f"s{number}" for number in range(12)]
        for session in sessions:
            assert (await fleet.chat(headers={"X-Session-ID": session})).status == 200
        before = homes(fleet)
        assert len(set(before.values())) == 3
        for engine in fleet.engines.values():
            engine.seen.clear()
        async with fleet.another_front() as second:
            url = f"http://127.0.0.1:{second.port}"
            for session in reversed(sessions):
                assert (await fleet.chat(url=url, headers={"X-Session-ID": session})).status == 200
        assert homes(fleet) == before


async def test_a_session_that_one_front_moved_is_found_there_by_the_other() -> None:
    async with running_fleet(decode=2) as fleet, fleet.another_front() as second:
        url = f"http://127.0.0.1:{second.port}"
        await fleet.chat(headers={"X-Session-ID": "s"})
        [home] = homes(fleet).values()
        other = "d-1" if home == "d-0" else "d-0"
        await fleet.api.apply(fleet.pod(home, draining=True))

        def moved() -> bool:
            return all(
                not next(e for e in r.roster.view(0.0).endpoints if e.name == home).takes_new_work
                for r in (fleet.front, second)
            )

        await eventually(moved, what=f"both fronts know that {home} drains")
        await fleet.chat(url=url, headers={"X-Session-ID": "s"})
        await fleet.api.apply(fleet.pod(home))
        bindings = fleet.front._whereabouts._bindings  # type: ignore[union-attr]
        await eventually(lambda: bindings._bound["s"].endpoint == other, what="the first front has heard")
        await eventually(lambda: not moved(), what=f"{home} takes work again")
        for engine in fleet.engines.values():
            engine.seen.clear()
        await fleet.chat(headers={"X-Session-ID": "s"})
        assert homes(fleet) == {"s": other}


async def test_sessions_without_a_name_are_told_to_nobody() -> None:
    async with running_fleet() as fleet:
        prompt = {"model": "fake", "prompt": "hello", "max_tokens": 5}
        async with fleet.client.post(f"{fleet.url}/v1/completions", json=prompt) as answer:
            assert answer.status == 200
        async with fleet.client.get(
            f"http://127.0.0.1:{fleet.sidecars['d-0'].admin_port}/sessions"
        ) as answer:
            assert (await answer.json())["ago"] == {}
        async with fleet.client.get(f"http://127.0.0.1:{fleet.front.admin_port}/sessions") as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'"x"',
        b"null",
        b'{"mark": 1, "ago": {}}',
        b'{"mark": "a"}',
        b'{"mark": "a", "ago": []}',
        b"\xff",
    ],
)
def test_an_answer_that_is_none_is_left_alone(content: bytes) -> None:
    assert read_served(content) is None


def test_what_is_told_is_read_and_what_makes_no_sense_left_out() -> None:
    served = Served("m.1", {"a": 1.5, "b": 0.0})
    assert read_served(format_served(served)) == served
    odd = b'{"mark": "m", "ago": {"a": -1, "b": "x", "c": null, "%b": 1, "d": 2}}' % (b"z" * 300)
    assert read_served(odd) == Served("m", {"d": 2.0})
