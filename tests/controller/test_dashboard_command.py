"""``pdscale dashboard``: the operator's page by the kubeconfig's rights, with and without its memory."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from fakes.kube import PLURAL, FakeKube, Fault
from fakes.operator import Bench
from pdscale.controller.dashboard import Objects, application
from pdscale.kube.client import Kube

LIST = f"/apis/pdscale.io/v1alpha1/{PLURAL}"
MEMORY = "/api/v1/namespaces/pdscale-system/pods/pdscale-0:9090/proxy/ui/state"
Opened = Callable[..., Awaitable[Objects]]


@pytest.fixture
async def written(it: Bench) -> Bench:
    """An object that an operator in the pod ``pdscale-0`` wrote last."""
    it.create()
    await it.tick()
    writer = {"status": {"writer": {"holder": "pdscale-0_12345678", "term": 1}}}
    it.fake.patch_status((PLURAL, "default", "chat"), writer)
    return it


@pytest.fixture
async def opened(written: Bench, tmp_path: Path) -> AsyncIterator[Opened]:
    """Behind an API server that leads to that pod, and answers ``status`` when asked to."""
    closing: list[Callable[[], Awaitable[None]]] = []

    async def start(*, status: int = 200) -> Objects:
        async def listed(_: web.Request) -> web.Response:
            return web.json_response({"items": [written.fake.get(PLURAL, "chat")]})

        async def memory(_: web.Request) -> web.Response:
            told: dict[str, Any] = written.operator.board.state()
            hidden = {**told["objects"][0], "namespace": "of-others"}
            return web.json_response({**told, "objects": [*told["objects"], hidden]}, status=status)

        app = web.Application()
        app.add_routes([web.get(LIST, listed), web.get(MEMORY, memory)])
        server = TestServer(app)
        await server.start_server()
        kube = await Kube.connect(FakeKube(address=str(server.make_url(""))).kubeconfig(tmp_path / "looking"))
        closing.extend((kube.close, server.close))
        return Objects(kube)

    yield start
    for close in closing:
        await close()


async def test_the_leading_operators_memory_is_shown_by_way_of_the_api_server(opened: Opened) -> None:
    told = await (await opened()).state()
    assert told["source"] == "operator"
    assert told["objects"][0]["live"] is not None


async def test_objects_that_the_user_may_not_list_are_not_shown_from_that_memory(opened: Opened) -> None:
    told = await (await opened()).state()
    assert [o["namespace"] for o in told["objects"]] == ["default"]


@pytest.mark.parametrize("status", [403, 404, 503])
async def test_without_the_operators_memory_the_stored_objects_are_shown(opened: Opened, status: int) -> None:
    told = await (await opened(status=status)).state()
    assert (told["source"], told["objects"][0]["live"]) == ("objects", None)
    assert told["objects"][0]["pools"]["decode"]["desired"] == 1


async def test_one_namespace_needs_rights_in_that_one_only(written: Bench) -> None:
    objects = Objects(written.kube, "default")
    written.fake.faults.append(Fault(lambda call: call.path == LIST, status=403))
    assert len((await objects.state())["objects"]) == 1
    assert (await Objects(written.kube, "empty").state())["objects"] == []


async def test_an_api_server_that_refuses_is_told_on_the_page(written: Bench) -> None:
    written.fake.faults.append(Fault(lambda call: call.path == LIST, status=403))
    async with TestClient(TestServer(application(Objects(written.kube)))) as client:
        answer = await client.get("/ui/state")
        assert (answer.status, LIST in await answer.text()) == (503, True)


async def test_a_foreign_name_for_this_machine_gets_nothing(written: Bench) -> None:
    async with TestClient(TestServer(application(Objects(written.kube)))) as client:
        assert (await client.get("/ui/state")).status == 200
        assert (await client.get("/ui/state", headers={"Host": "rebound.example"})).status == 403


# Both names of the command, and what errors begin with.
NAMES = [
    pytest.param(("-m", "pdscale"), "pdscale dashboard: ", id="pdscale"),
    pytest.param(
        ("-c", "import sys; from pdscale.controller.asking import plugin; sys.exit(plugin())"),
        "kubectl pdscale dashboard: ",
        id="kubectl",
    ),
]


@pytest.mark.parametrize(("program", "_"), NAMES)
async def test_the_command_serves_until_it_is_interrupted(
    written: Bench, tmp_path: Path, program: tuple[str, ...], _: str
) -> None:
    config = written.fake.kubeconfig(tmp_path / "config")
    command = (sys.executable, *program, "dashboard", "--kubeconfig", config, "--port", "0")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
            assert line.startswith("http://127.0.0.1:")
            process.send_signal(2)
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(("program", "begins"), NAMES)
async def test_the_command_says_what_it_may_not_list(
    written: Bench, tmp_path: Path, program: tuple[str, ...], begins: str
) -> None:
    written.fake.faults.append(Fault(lambda call: call.path == LIST, status=403))
    config = written.fake.kubeconfig(tmp_path / "config")
    command = (sys.executable, *program, "dashboard", "--kubeconfig", config)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().startswith(begins)
