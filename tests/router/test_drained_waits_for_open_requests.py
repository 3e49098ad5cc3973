"""``/drained`` on the admin port: an engine's signal is held back until its router has nothing open."""

import asyncio

import aiohttp
from aiohttp import web

from pdscale.router.admin import admin_app
from pdscale.router.meters import Meters
from pdscale.router.traffic import Traffic


async def _ready() -> str:
    return ""


async def _serve(traffic: Traffic, *, within: float) -> tuple[web.AppRunner, str]:
    app = admin_app(
        ready=_ready,
        drained=lambda: traffic.drained(quiet=0.05, within=within),
        meters=Meters(),
        load=None,
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/drained"


async def _ask(url: str) -> str:
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_it_answers_after_the_last_request_has_ended() -> None:
    traffic = Traffic(asyncio.get_running_loop().time)
    runner, url = await _serve(traffic, within=30)
    traffic.begin()
    waiting = asyncio.create_task(_ask(url))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    traffic.end()
    assert await asyncio.wait_for(waiting, 5) == "drained\n"
    await runner.cleanup()


async def test_it_gives_up_at_the_drain_timeout() -> None:
    traffic = Traffic(asyncio.get_running_loop().time)
    runner, url = await _serve(traffic, within=0.1)
    traffic.begin()
    assert await asyncio.wait_for(_ask(url), 5) == "requests are still open\n"
    await runner.cleanup()


async def test_asking_does_not_drain_anything() -> None:
    traffic = Traffic(asyncio.get_running_loop().time)
    runner, url = await _serve(traffic, within=1)
    await _ask(url)
    assert not traffic.draining
    await runner.cleanup()
