"""kopf's watch goes on whatever the API server answers to it, or the process ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from kopf._cogs.clients.watching import WatchingError

from fakes.kube import PLURAL, Call, Fault
from fakes.operator import PATIENCE, Bench, eventually, ready, running
from fakes.serving import serving
from pdscale.controller import handlers
from pdscale.controller.login import credentials, session
from pdscale.settings import Settings


def listing_or_watching(call: Call) -> bool:
    return call.method == "GET" and call.path.endswith(f"/{PLURAL}")


def watching(call: Call) -> bool:
    return listing_or_watching(call) and call.watches


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf asks again at once, and takes a second for silence."""
    monkeypatch.setattr(handlers, "ASK_AGAIN", 0.05)
    monkeypatch.setattr(handlers, "SILENCE", 1.0)


@asynccontextmanager
async def served(it: Bench, folder: Path) -> AsyncIterator[asyncio.Task[None]]:
    """kopf serves one object: it lists, and it watches."""
    async with running(it, folder) as task:
        it.create()
        await eventually(lambda: ready(it))
        yield task


async def another_is_served(it: Bench) -> None:
    manifest = serving()
    manifest["metadata"]["name"] = "other"
    it.fake.store.create(PLURAL, "default", manifest)
    await eventually(lambda: it.fake.has("deployments", "other-decode"))


def struck(fault: Fault, *, left: int = 0) -> Callable[[], bool]:
    return lambda: fault.times == left


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 429, 500, 503])
async def test_a_watch_that_is_refused_with_any_status_is_asked_for_again(
    it: Bench, tmp_path: Path, soon: None, status: int
) -> None:
    async with served(it, tmp_path):
        fault = Fault(watching, status=status, times=12)  # more than kopf's own back-offs are
        it.fake.faults.append(fault)
        it.fake.store.end_watches()
        await eventually(struck(fault))
        await another_is_served(it)


async def test_what_comes_while_a_watch_is_refused_as_too_old_is_heard_at_once(
    it: Bench, tmp_path: Path, soon: None
) -> None:
    """The second request of the pair names no version: the server tells of everything that there is."""
    async with served(it, tmp_path):
        it.fake.faults.append(Fault(lambda call: watching(call) and bool(call.since), status=410))
        it.fake.store.end_watches()
        await another_is_served(it)


async def test_a_first_list_that_is_refused_is_asked_for_again(it: Bench, tmp_path: Path, soon: None) -> None:
    it.create()
    fault = Fault(lambda call: listing_or_watching(call) and not call.watches, status=404, times=12)
    it.fake.faults.append(fault)
    async with running(it, tmp_path):
        await eventually(lambda: ready(it))
    assert fault.times == 0


async def test_a_watch_that_is_taken_and_told_nothing_is_given_up(
    it: Bench, tmp_path: Path, soon: None
) -> None:
    async with served(it, tmp_path):
        fault = Fault(watching, silent=True, times=1)
        it.fake.faults.append(fault)
        it.fake.store.end_watches()
        await eventually(struck(fault))
        await another_is_served(it)


async def test_an_error_in_the_stream_that_kopf_does_not_survive_ends_the_process(
    it: Bench, tmp_path: Path, soon: None
) -> None:
    """Else its daemons would tick on, and nothing new would ever be heard of."""

    async def serve() -> None:
        async with served(it, tmp_path) as task:
            it.fake.store.end_watches({"type": "ERROR", "object": {"kind": "Status", "code": 500}})
            done, _ = await asyncio.wait({task}, timeout=PATIENCE)
            assert done, "by itself"

    with pytest.raises(WatchingError):
        await serve()


async def test_a_page_of_a_list_that_is_too_old_is_a_list_that_broke_off(it: Bench, tmp_path: Path) -> None:
    """kopf would ask for the same page for ever after a failed connection; this makes it begin anew."""
    it.fake.faults.append(Fault(listing_or_watching, status=410))
    found = await credentials(Settings(kubeconfig=it.fake.kubeconfig(tmp_path / "config")))
    address = f"{it.fake.address}/apis/pdscale.io/v1alpha1/{PLURAL}"
    async with session(found).aiohttp_session as own:
        with pytest.raises(aiohttp.ClientPayloadError):
            await own.get(address, params={"continue": "there"})
        with pytest.raises(aiohttp.ClientConnectionError):
            await own.get(address)
