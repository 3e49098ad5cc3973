"""Several processes that serve one client port, and the one that starts them and never serves itself.

Python runs on one core at a time, so a front that must use more is several processes. Each listens on the
same port (``SO_REUSEPORT``) and the kernel deals out connections; they share nothing and learn where sessions
live as the fronts of other pods do. One that dies takes its own connections along and is started again. Their
admin paths are on sockets without a file, since a container's root may be read-only: Linux only.

The standard input of each is a pipe from here, so that none stays when this process is killed.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import aiohttp

from pdscale.model.units import Seconds

log = logging.getLogger(__name__)

_BACKOFF: Final[tuple[Seconds, Seconds]] = (0.1, 10.0)
_HEALTHY_LIFE: Final[Seconds] = 30.0  # after it, a death says nothing about the next life
_TIMEOUT: Final[Seconds] = 2.0


@dataclass(frozen=True, slots=True)
class Member:
    """One life of one process. ``number`` is never used again."""

    number: int
    process: asyncio.subprocess.Process
    client: aiohttp.ClientSession

    async def ask(self, path: str, within: Seconds = _TIMEOUT) -> tuple[int, str] | None:
        """Status and text; nothing from one that is starting, stuck or gone."""
        try:
            async with self.client.get(
                f"http://member{path}", timeout=aiohttp.ClientTimeout(total=within)
            ) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None


class Crew:
    """``port`` is the real one. ``restarts`` counts members that died unasked."""

    def __init__(self, *, size: int, host: str, port: int, arguments: Sequence[str]) -> None:
        self.size, self.restarts, self.draining = size, 0, False
        self._arguments = arguments
        self._reserved = _reserve(host, port)
        self.port = int(self._reserved.getsockname()[1])
        self._numbers = count()
        self._members: dict[int, Member] = {}
        self._berths: list[asyncio.Task[None]] = []
        self._lost: list[int] = []

    @property
    def members(self) -> tuple[Member, ...]:
        return tuple(self._members.values())

    def take_lost(self) -> list[int]:
        """Numbers of those that have died since this was last asked."""
        lost, self._lost = self._lost, []
        return lost

    def start(self) -> None:
        self._berths = [asyncio.ensure_future(self._keep_one()) for _ in range(self.size)]

    async def drain(self, within: Seconds) -> None:
        """Have all of them drain; whoever has not ended by then is killed."""
        self.draining = True
        for member in self.members:
            _signal(member, signal.SIGTERM)
        _, late = await asyncio.wait(self._berths, timeout=within)
        if late:
            log.warning("%d processes did not end within %gs", len(late), within)

    async def stop(self) -> None:
        for berth in self._berths:
            berth.cancel()
        ended = await asyncio.gather(*self._berths, return_exceptions=True)
        self._reserved.close()
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _keep_one(self) -> None:
        """Start a member, and the next when it has died, until all of them are told to end."""
        first, most = _BACKOFF
        delay, clock = first, asyncio.get_running_loop().time
        while not self.draining:
            began = clock()
            status = await self._live()
            if self.draining:
                return
            self.restarts += 1
            delay = first if clock() - began >= _HEALTHY_LIFE else delay
            log.warning("a process ended with status %d; the next one starts in %gs", status, delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, most)

    async def _live(self) -> int:
        number = next(self._numbers)
        name = f"pdscale-router-{os.getpid()}-{number}-{os.urandom(4).hex()}"
        own = ("--processes", "1", "--port", str(self.port), "--admin-socket", f"@{name}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pdscale.router", *self._arguments, *own), stdin=asyncio.subprocess.PIPE
        )
        try:
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(f"\0{name}")) as client:
                member = self._members[number] = Member(number, process, client)
                if self.draining:
                    _signal(member, signal.SIGTERM)
                return await process.wait()
        finally:
            self._members.pop(number, None)
            self._lost.append(number)
            if process.returncode is None:
                process.kill()
                await process.wait()


def _reserve(host: str, port: int) -> socket.socket:
    """Bound, so that a port in use is an error at once, but not listening: nobody is sent here."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(address)
    except OSError:
        found.close()
        raise
    return found


def _signal(member: Member, number: signal.Signals) -> None:
    if member.process.returncode is None:
        member.process.send_signal(number)
