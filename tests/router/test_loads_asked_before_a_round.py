"""Before a round of many new tokens is placed its sidecar asks prefill replicas how busy they are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from fakes.fleet import eventually
from pdscale.model.cluster import Endpoint, Load
from pdscale.model.pools import Role
from pdscale.router.fleet.loads import LoadPoller
from pdscale.router.fleet.peers import Peer
from pdscale.router.fleet.roster import Roster


@dataclass
class Asked:
    """A prefill replica's admin port, which answers when ``may_answer`` is set."""

    requests: int = 0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def load(self, _: web.Request) -> web.Response:
        self.requests += 1
        told = self.requests
        await self.may_answer.wait()
        return web.json_response({"running": 1, "waiting": told, "kv": 0.0, "backlog": 4.0})


@asynccontextmanager
async def replica() -> AsyncIterator[tuple[Asked, Roster, LoadPoller]]:
    asked, app = Asked(), web.Application()
    app.router.add_get("/load", asked.load)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    roster = Roster()
    roster.put(Peer("u", Endpoint("p-0", "127.0.0.1", Role.PREFILL), admin_port=port), now=0)
    async with aiohttp.ClientSession() as client:
        yield asked, roster, LoadPoller(client, roster, Role.PREFILL)
        asked.may_answer.set()
    await runner.cleanup()


def load(roster: Roster) -> Load:
    found = roster.view(asyncio.get_running_loop().time()).named("p-0")
    assert found is not None
    return found.load


async def test_rounds_of_one_moment_share_an_answer() -> None:
    async with replica() as (asked, roster, poller):
        before = asyncio.get_running_loop().time()
        both = asyncio.gather(poller.renew(["p-0"]), poller.renew(["p-0", "nobody"]))
        asked.may_answer.set()
        await both
        await eventually(lambda: load(roster).backlog == 4.0)
        assert asked.requests == 1
        assert before <= load(roster).seen_at <= asyncio.get_running_loop().time()


async def test_a_round_does_not_wait_for_a_replica_that_is_slow_to_tell() -> None:
    async with replica() as (asked, roster, poller):
        async with asyncio.timeout(5):
            await poller.renew(["p-0"])
        assert load(roster).backlog is None
        asked.may_answer.set()
        await eventually(lambda: load(roster).backlog == 4.0)  # it counts for the next round


async def test_the_next_moment_asks_anew() -> None:
    async with replica() as (asked, roster, poller):
        asked.may_answer.set()
        for number in (1, 2):
            await poller.renew(["p-0"])
            await eventually(lambda n=number: load(roster).waiting == n)  # type: ignore[misc]
