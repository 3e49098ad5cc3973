"""The program itself: start-up, warnings, drain on SIGTERM, and death."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.emulated import Client

HELLO = [{"role": "user", "content": "hello there my friend"}]
SOURCES = Path(__file__).parents[2] / "operator"


@dataclass
class Program:
    process: asyncio.subprocess.Process
    port: int
    warnings: list[str]


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pdscale.emulator", "--host", "127.0.0.1", "--port", "0"),
        *("--model", "tiny", "--side-channel-host", "127.0.0.1", "--side-channel-port", "0"),
        *options,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )
    assert process.stderr is not None
    warnings: list[str] = []
    try:
        async with asyncio.timeout(20):
            while True:
                line = (await process.stderr.readline()).decode()
                assert line, f"the program ended: {warnings}"
                if found := re.search(r" on 127\.0\.0\.1:(\d+)", line):
                    break
                warnings.append(line.strip())
        yield Program(process, int(found[1]), warnings)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_running_stream_ends_before_the_program_does(client: Client) -> None:
    async with running("--shutdown-timeout", "20", "--unheard-of", "9") as program:
        assert program.warnings == ["pdscale.emulator: warning: --unheard-of is ignored"]
        async with client.open(program.port, messages=HELLO, max_tokens=100, stream=True) as response:
            await response.content.readline()
            program.process.send_signal(signal.SIGTERM)
            text = await response.text()
        assert text.endswith("data: [DONE]\n\n")
        assert await program.process.wait() == 0


async def test_without_a_time_to_drain_streams_are_cut_off(client: Client) -> None:
    async with (
        running("--speed", "0.1") as program,
        client.open(program.port, messages=HELLO, stream=True) as response,
    ):
        await response.content.readline()
        program.process.send_signal(signal.SIGTERM)
        assert await program.process.wait() == 0


async def test_a_request_that_kills_the_engine_ends_the_program(client: Client) -> None:
    config: dict[str, Any] = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}
    async with running("--kv-transfer-config", json.dumps(config)) as program:
        answer = await client.chat(
            program.port, messages=HELLO, kv_transfer_params={"do_remote_prefill": True}
        )
        assert answer.status == 500
        assert await program.process.wait() == 1


async def test_a_starting_engine_is_not_ready(
    start: Any, client: Client, eventually: Callable[..., Any]
) -> None:
    server = await start(start_up=0.3)
    assert (await client.get(server.port, "/health"))[0] == 503
    assert (await client.chat(server.port, messages=HELLO)).status == 503
    await eventually(lambda: asyncio.get_running_loop().time() >= server.ready_at)
    assert (await client.get(server.port, "/health"))[0] == 200
    assert (await client.chat(server.port, messages=HELLO, max_tokens=1)).status == 200
