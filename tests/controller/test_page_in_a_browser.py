"""The page as Chromium shows it: it runs under its own policy, tells what the JSON tells, and runs no other
script."""

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from fakes.drains import bound, busy, tell
from fakes.operator import Bench
from pdscale.controller.admin import serving
from pdscale.controller.view import pages

CHROMIUM: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WITHIN: Final = 90.0

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt install chromium)")


async def shown(state: Callable[[], dict[str, Any]], folder: Path, *, at: str = "/ui") -> str:
    """The document after its script has asked once and drawn."""

    async def told() -> dict[str, Any]:
        return state()

    app = web.Application()
    app.add_routes(pages.routes(told))
    async with serving(app, host="127.0.0.1", port=0) as url:
        assert CHROMIUM is not None
        browser = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=1000", "--dump-dom"),
            f"{url}{at}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(WITHIN):
                document, said = await browser.communicate()
        finally:
            if browser.returncode is None:
                browser.kill()
                await browser.wait()
    assert browser.returncode == 0, said.decode()
    return re.sub(r"<script>.*?</script>", "", document.decode(), flags=re.S)


async def test_a_browser_shows_pools_rates_forecasts_plans_and_sessions(it: Bench, tmp_path: Path) -> None:
    await busy(it)
    it.source.rate = 20.0
    it.operator.board.state()
    for _ in range(4):
        await it.tick(after=15)
    bound(it, 2)
    tell(it, "chat-decode-1", requests=1, sessions=2)
    await it.tick(after=5)
    await it.tick(after=5)  # the mark is on the pod
    page = await shown(it.operator.board.state, tmp_path, at="/ui/")
    assert 'data-name="default/chat"' in page
    assert page.count('class="pod ready"') == 3
    assert page.count('class="pod draining"') == 1
    for drawn in ("observed", "band", "upper"):
        assert re.search(rf'<path class="{drawn}" d="M[\d. L]+', page)
    assert "ForecastDemand" in page
    assert re.search(r"chat-decode-1</td><td>decode</td><td><span[^>]*>draining since", page)
    assert "No answer" not in page


async def test_what_objects_say_is_never_run(it: Bench, tmp_path: Path) -> None:
    it.create()
    await it.tick()
    state = it.operator.board.state()
    state["objects"][0]["concerns"] = ["<img src=x onerror=\"document.title='taken'\">"]
    page = await shown(lambda: state, tmp_path)
    assert "&lt;img src=x" in page
    assert "<title>pdscale</title>" in page


async def test_an_operator_that_waits_for_the_lease_says_who_to_ask(tmp_path: Path) -> None:
    told = {"source": "operator", "at": 1.7e9, "leads": False, "objects": []}
    assert "waits for the Lease" in await shown(lambda: told, tmp_path)


async def test_an_operator_that_fails_is_told_and_not_hidden(tmp_path: Path) -> None:
    def broken() -> dict[str, Any]:
        raise web.HTTPServiceUnavailable(text="starting")

    assert "No answer, so what follows is old: 503 starting" in await shown(broken, tmp_path)
