"""SGLang's switch of a role, over a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from pdscale.engines import role_switch
from pdscale.engines.errors import EngineSilent, RoleRefused
from pdscale.engines.role_switch import PATH, switch_role
from pdscale.model.pools import Role


@asynccontextmanager
async def engine(status: int, body: str, *, heard: list[object]) -> AsyncIterator[str]:
    """Answers each switch so, or not at all with status 0; ``heard`` are the bodies."""

    over = asyncio.Event()

    async def answer(http: web.Request) -> web.Response:
        heard.append(await http.json())
        if status == 0:
            await over.wait()
            return web.Response()
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_post(PATH, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        over.set()
        await runner.cleanup()


async def test_an_engine_that_agrees_has_heard_the_role() -> None:
    heard: list[object] = []
    async with engine(200, '{"success": true, "message": "ok"}', heard=heard) as url:
        await switch_role(url, Role.DECODE)
    assert heard == [{"new_role": "decode"}]


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (400, '{"success": false, "message": "the instance must be idle"}', "the instance must be idle"),
        (200, '{"success": false, "message": "no"}', "no"),
        (404, "Not Found", "404 Not Found"),
        (200, "[]", "200"),
    ],
)
async def test_an_engine_that_refuses_is_quoted(status: int, body: str, says: str) -> None:
    async with engine(status, body, heard=[]) as url:
        with pytest.raises(RoleRefused, match=says):
            await switch_role(url, Role.PREFILL)


async def test_an_engine_that_says_nothing_in_time_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(role_switch, "PATIENCE", 0.1)
    async with engine(0, "", heard=[]) as url:
        with pytest.raises(EngineSilent):
            await switch_role(url, Role.PREFILL)


async def test_an_engine_that_is_gone_is_silent() -> None:
    async with engine(200, "", heard=[]) as url:
        pass
    with pytest.raises(EngineSilent):
        await switch_role(url, Role.PREFILL)
