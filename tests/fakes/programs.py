"""Our own programs as processes on free ports of loopback; none outlives its test."""

import asyncio
import os
import re
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pdscale

SOURCES = Path(pdscale.__path__[0]).parent  # those of this process: it may test a compiled copy

_LISTENS = re.compile(r"(?: listens|\.emulator: \S+) on 127\.\d+\.\d+\.\d+:(\d+)(?:, admin port (\d+))?")
_START = 60.0  # seconds, on a machine with more to do than it has cores


@dataclass
class Program:
    """``said`` are its last lines on standard error."""

    process: asyncio.subprocess.Process
    host: str
    port: int = 0
    admin_port: int = 0
    said: deque[str] = field(default_factory=lambda: deque(maxlen=200))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def admin(self) -> str:
        return f"http://{self.host}:{self.admin_port}"

    @property
    def runs(self) -> bool:
        return self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        if self.runs:
            self.process.send_signal(number)

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]

    async def end(self, *, within: float = 10.0) -> int:
        """Its status after SIGTERM, or after SIGKILL if that was not enough."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), within)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.process.wait()


class Programs:
    """Starts programs, and ends those that are left."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.all: list[Program] = []

    async def router(self, *arguments: str, host: str = "127.0.0.1") -> Program:
        return await self._start("pdscale.router", host, ("--port", "0", "--admin-port", "0", *arguments))

    async def engine(self, *arguments: str, host: str = "127.0.0.1") -> Program:
        side = ("--side-channel-host", host, "--side-channel-port", "0")
        return await self._start("pdscale.emulator", host, ("--port", "0", *side, *arguments))

    async def _start(self, module: str, host: str, arguments: Sequence[str]) -> Program:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, "--host", host, *arguments),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
        )
        program = Program(process, host)
        self.all.append(program)
        self._stack.push_async_callback(_bury, process)
        listens = asyncio.get_running_loop().create_future()
        reading = asyncio.ensure_future(_listen_to(program, listens))
        self._stack.push_async_callback(_finish, reading)
        try:
            await asyncio.wait_for(listens, _START)
        except TimeoutError:
            raise AssertionError(f"{module} never listened: {list(program.said)}") from None
        return program


@asynccontextmanager
async def programs() -> AsyncIterator[Programs]:
    async with AsyncExitStack() as stack:
        yield Programs(stack)


async def _listen_to(program: Program, listens: asyncio.Future[None]) -> None:
    stream = program.process.stderr
    assert stream is not None
    while line := (await stream.readline()).decode():
        program.said.append(line.rstrip())
        found = _LISTENS.search(line)
        if found and not listens.done():
            program.port, program.admin_port = int(found[1]), int(found[2] or 0)
            listens.set_result(None)
    if not listens.done():
        listens.set_exception(AssertionError(f"the program ended: {list(program.said)}"))


async def _bury(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def _finish(reading: asyncio.Task[None]) -> None:
    """Its end is the last word of the program; ``_bury`` comes after, so it is helped along."""
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
