"""The plugin as its container runs it: a process, its HTTP port, SIGTERM."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.kubelet import Kubelet
from pdscale_e2e.asking import Unsuccessful, ask
from pdscale_e2e.gpu_plugin.control import set_health
from pdscale_e2e.gpu_plugin.gpus import Health

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


class Process:
    """A running plugin with two GPUs, registered, and where it listens."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, endpoint: str) -> None:
        self.process, self.port, self.endpoint = process, port, endpoint

    async def set_health(self, number: int, health: Health) -> None:
        await asyncio.to_thread(set_health, HOST, number, health, port=self.port)

    async def ask(self, method: str, path: str) -> bytes:
        return await asyncio.to_thread(ask, method, f"http://{HOST}:{self.port}{path}")


@pytest.fixture
async def kubelet(tmp_path: Path) -> AsyncIterator[Kubelet]:
    kubelet = await Kubelet(tmp_path).start()
    yield kubelet
    await kubelet.stop()


@pytest.fixture
async def plugin(kubelet: Kubelet) -> AsyncIterator[Process]:
    port = free_port()
    words = f"--node w --gpus 2 --host {HOST} --port {port} --folder {kubelet.folder}".split()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pdscale_e2e.gpu_plugin",
        *words,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield Process(process, port, (await kubelet.registered(within=20)).endpoint)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_health_set_over_http_reaches_the_kubelet(kubelet: Kubelet, plugin: Process) -> None:
    async with kubelet.plugin(plugin.endpoint) as calls, calls.listings() as listings:
        assert await anext(listings) == {"GPU-w-0": "Healthy", "GPU-w-1": "Healthy"}
        await plugin.set_health(1, Health.UNHEALTHY)
        assert await anext(listings) == {"GPU-w-0": "Healthy", "GPU-w-1": "Unhealthy"}
        assert json.loads(await plugin.ask("GET", "/gpus")) == {"GPU-w-0": "Healthy", "GPU-w-1": "Unhealthy"}
        await plugin.set_health(1, Health.HEALTHY)
        assert await anext(listings) == {"GPU-w-0": "Healthy", "GPU-w-1": "Healthy"}


async def test_a_wrong_request_is_told_what_is_wrong_and_changes_nothing(plugin: Process) -> None:
    for path, status, message in (
        ("/gpus/2?health=unhealthy", 404, r"gpu must be in 0\.\.1, got 2"),
        ("/gpus/1?health=ill", 400, "health must be healthy or unhealthy, got 'ill'"),
        ("/gpus/1", 400, "health must be healthy or unhealthy, got ''"),
    ):
        with pytest.raises(Unsuccessful, match=f"{status}: {message}"):
            await plugin.ask("PUT", path)
    assert json.loads(await plugin.ask("GET", "/gpus")) == {"GPU-w-0": "Healthy", "GPU-w-1": "Healthy"}


async def test_sigterm_ends_it_cleanly_while_the_kubelet_watches(kubelet: Kubelet, plugin: Process) -> None:
    async with kubelet.plugin(plugin.endpoint) as calls, calls.listings() as listings:
        await anext(listings)
        plugin.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(plugin.process.wait(), 5) == 0
    assert not (kubelet.folder / plugin.endpoint).exists()
