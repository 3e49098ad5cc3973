"""A listening socket whose connections all end with it, as those of a process that dies do.

``asyncio.Server`` leaves open what it has accepted, and what it is accepting when it closes is neither served
nor closed (CPython 3.11): a caller would wait for ever for an engine that is gone.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_BACKLOG: Final = 1024
_RETRY: Final = 0.1  # seconds; short of file descriptors, say


class Listener:
    """Calls ``talk`` for each connection, which is closed when ``talk`` returns or the listener closes."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._talks: dict[asyncio.Task[None], socket.socket] = {}
        self._closed = False

    async def start(self, host: str, port: int) -> int:
        """The port, which the system chooses for 0. ``OSError`` when it is taken."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._socket))
        bound: int = self._socket.getsockname()[1]
        return bound

    async def close(self) -> None:
        """All callers see the end of their connections at once."""
        self._closed = True
        if self._socket is None or self._accepting is None:
            return
        self._socket.shutdown(socket.SHUT_RDWR)  # ends the wait in ``_accept``, which loses nobody
        await self._accepting
        self._socket.close()
        for caller in self._talks.values():
            with contextlib.suppress(OSError):  # it has gone already
                caller.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while not self._closed:
            try:
                caller, _ = await loop.sock_accept(listening)
            except OSError:
                if not self._closed:
                    await asyncio.sleep(_RETRY)
                continue
            task = asyncio.create_task(self._welcome(caller))
            self._talks[task] = caller
            task.add_done_callback(self._talks.pop)

    async def _welcome(self, caller: socket.socket) -> None:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(sock=caller)
        try:
            await self._talk(reader, writer)
        finally:
            writer.close()
