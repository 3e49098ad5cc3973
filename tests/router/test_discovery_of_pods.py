"""The roster follows the API: lists, watches, lost events, expired watches, outages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from fakes.fleet import eventually
from fakes.pods_api import FakePodsApi, pod
from pdscale.model.cluster import Load
from pdscale.model.pools import Role
from pdscale.router.fleet.discovery import ApiAccess, KubernetesDiscovery
from pdscale.router.fleet.peers import parse_static, peer_of_pod
from pdscale.router.fleet.roster import Roster


@asynccontextmanager
async def following(
    api: FakePodsApi, *, relist: float = 60.0, token_file: Path | None = None
) -> AsyncIterator[Roster]:
    roster = Roster()
    async with aiohttp.ClientSession() as client:
        discovery = KubernetesDiscovery(
            client,
            ApiAccess(api.url, token_file),
            roster,
            namespace="default",
            deployment="chat",
            relist=relist,
        )
        task = asyncio.ensure_future(discovery.run())
        try:
            yield roster
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def names(roster: Roster, role: Role = Role.DECODE) -> list[str]:
    view = roster.view(asyncio.get_running_loop().time())
    return [e.name for e in view.of(role) if e.takes_new_work]


async def test_pods_come_and_go_with_the_watch() -> None:
    async with FakePodsApi() as api, following(api) as roster:
        await eventually(lambda: api.watches == 1)
        await api.apply(pod("d-0", "decode", http_port=1234))
        await api.apply(pod("other", "decode", deployment="other"))
        await api.apply(pod("chat-router-x", "router"))
        await eventually(lambda: "d-0" in names(roster))
        peer = roster.peer("d-0")
        assert peer is not None
        assert (peer.url, peer.admin_port) == ("http://127.0.0.1:1234", 9090)
        await api.apply(pod("d-0", "decode", ready=False))
        await eventually(lambda: "d-0" not in names(roster))
        await api.delete("d-0")
        await eventually(lambda: roster.peer("d-0") is None)
        assert roster.peer("chat-router-x") is None


@pytest.mark.parametrize("mark", ["draining", "deleting"])
async def test_a_marked_or_deleted_pod_takes_no_work_though_it_is_ready(mark: str) -> None:
    async with FakePodsApi() as api:
        api.change_unseen(pod("d-0", "decode"))
        async with following(api) as roster:
            await eventually(lambda: names(roster) == ["d-0"])
            await api.apply(pod("d-0", "decode", **{mark: True}))
            await eventually(lambda: names(roster) == [])


async def test_a_pod_that_changes_its_role_changes_sides() -> None:
    async with FakePodsApi() as api:
        api.change_unseen(pod("x", "prefill"))
        async with following(api) as roster:
            await eventually(lambda: names(roster, Role.PREFILL) == ["x"])
            await api.apply(pod("x", "decode"))
            await eventually(lambda: names(roster) == ["x"])
            assert names(roster, Role.PREFILL) == []


async def test_an_expired_watch_is_followed_by_a_list_at_once() -> None:
    async with FakePodsApi() as api, following(api) as roster:
        await eventually(lambda: api.watches == 1)
        api.change_unseen(pod("d-0", "decode"))
        await api.expire()
        await eventually(lambda: names(roster) == ["d-0"], within=0.4)


async def test_a_change_that_the_watch_missed_shows_with_the_next_list() -> None:
    async with FakePodsApi() as api, following(api, relist=1.0) as roster:
        await eventually(lambda: api.watches == 1)
        api.change_unseen(pod("d-0", "decode"))
        await eventually(lambda: names(roster) == ["d-0"], within=3)


async def test_an_outage_keeps_the_last_view_and_lets_it_age() -> None:
    async with FakePodsApi() as api:
        api.change_unseen(pod("d-0", "decode"))
        async with following(api) as roster:
            await eventually(lambda: names(roster) == ["d-0"])
            seen = roster.synced_at
            api.fail_lists_with = 500
            await api.expire()
            await eventually(lambda: api.lists >= 3)
            assert names(roster) == ["d-0"]
            assert roster.synced_at == seen
            api.fail_lists_with = None
            await eventually(lambda: roster.synced_at != seen)


async def test_a_bookmark_is_a_sign_of_life() -> None:
    async with FakePodsApi() as api, following(api) as roster:
        await eventually(lambda: api.watches == 1)
        seen = roster.synced_at
        await api.bookmark()
        await eventually(lambda: roster.synced_at != seen)


async def test_a_rotated_token_is_read_anew(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    async with FakePodsApi(token="new") as api, following(api, token_file=token) as roster:
        await asyncio.sleep(0.1)
        assert roster.synced_at is None
        token.write_text("new\n")
        await eventually(lambda: roster.synced_at is not None)


def test_pods_without_address_or_at_their_end_are_no_peers() -> None:
    pending = pod("d-0", "decode")
    pending["status"]["podIP"] = ""
    assert peer_of_pod(pending) is None
    failed = pod("d-0", "decode")
    failed["status"]["phase"] = "Failed"
    assert peer_of_pod(failed) is None
    assert peer_of_pod({}) is None


def test_static_endpoints_name_role_name_address_and_ports() -> None:
    first, second = parse_static("prefill=p-0=10.0.0.1, decode=d-0=127.0.0.1:8001:9001")
    assert (first.url, first.admin_url) == ("http://10.0.0.1:8080", "http://10.0.0.1:9090")
    assert (second.url, second.admin_port) == ("http://127.0.0.1:8001", 9001)
    with pytest.raises(ValueError, match="staticEndpoints must look like"):
        parse_static("router=r=1.2.3.4")


def test_a_peer_under_suspicion_is_passed_over_unless_it_is_the_last() -> None:
    roster = Roster()
    roster.replace_all(parse_static("decode=a=10.0.0.1,decode=b=10.0.0.2"), now=0)

    def ready(now: float) -> list[str]:
        return [e.name for e in roster.view(now).of(Role.DECODE) if e.takes_new_work]

    roster.suspect("a", now=0)
    assert ready(1) == ["b"]
    roster.suspect("b", now=0)
    assert ready(1) == ["a", "b"]
    assert ready(2.1) == ["a", "b"]
    roster.suspect("a", now=3)
    assert ready(5.1) == ["a", "b"]


def test_the_first_good_word_from_a_suspect_clears_it() -> None:
    roster = Roster()
    roster.replace_all(parse_static("decode=a=10.0.0.1,decode=b=10.0.0.2"), now=0)
    roster.suspect("a", now=0)
    assert [p.endpoint.name for p in roster.not_heard_of(Role.DECODE, since=-1)] == ["a", "b"]
    roster.heard("b", Load(seen_at=0.5))
    assert [e.name for e in roster.view(0.5).of(Role.DECODE) if e.takes_new_work] == ["b"]
    assert [p.endpoint.name for p in roster.not_heard_of(Role.DECODE, since=0)] == ["a"]
    roster.heard("a", Load(running=3, seen_at=0.6))
    view = roster.view(0.6)
    assert [e.name for e in view.of(Role.DECODE) if e.takes_new_work] == ["a", "b"]
    assert view.endpoints[0].load.running == 3
