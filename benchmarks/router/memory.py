"""A network in memory: the same routers, unchanged, on a loop whose connections are two queues' ends.

What a proxy costs on sockets is in part the kernel's, and moves by tens of percent on a machine with
neighbours. Here a write lies in one queue until ``carry`` hands it to the other end, in order, with nothing
in between: what is left is the proxy's own work, to be measured to some percent anywhere. It flatters: caches
are warm, reads are never split, and no round of the loop reads more than one connection.

Engines are tapes: they answer each request with the bytes that the mock engine (``engine``) once answered it
with, so that no time is theirs. Addresses are port numbers; whatever else a router dials is not there.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import uvloop

from benchmarks.router.engine import Conversation, Engine, Transfers

HOST: Final = "127.0.0.1"
Carry = Callable[[bytes], None]


class Pipe(asyncio.Transport):
    """One end of a connection, its protocol's; ``carry`` is what becomes of a write."""

    def __init__(self, protocol: asyncio.BaseProtocol, carry: Carry) -> None:
        super().__init__()
        self.write = carry  # type: ignore[assignment, method-assign]  # as cheap as can be
        self._protocol = protocol
        self._closing = False

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Listening:
    """What ``create_server`` gives, as far as routers look at it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        return HOST, self._port

    def close(self) -> None: ...

    async def wait_closed(self) -> None: ...


class MemoryLoop(uvloop.Loop):
    """``engines``: the answer, as pieces, that is given at a port to whatever is written there."""

    def __init__(self) -> None:
        super().__init__()
        self.engines: dict[int, Sequence[bytes]] = {}
        self._servers: dict[int, Callable[[], asyncio.Protocol]] = {}
        self._under_way: deque[tuple[Carry, bytes]] = deque()

    async def create_server(  # type: ignore[override]
        self, factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:
        self._servers[port] = factory
        return Listening(port)

    async def create_connection(  # type: ignore[override]
        self, factory: Any, host: Any = None, port: Any = None, **how: Any
    ) -> Any:
        if how.get("sock") is not None:
            return await super().create_connection(factory, host, port, **how)
        near: asyncio.Protocol = factory()
        if port in self.engines:
            carry = self._to_engine(near, self.engines[port])
        else:
            carry = self._to_server(near, self._servers[port])
        transport = Pipe(near, carry)
        near.connection_made(transport)
        return transport, near

    def carry(self) -> bool:
        """Hand over all that is under way, and what is written meanwhile; false if there was nothing."""
        under_way = self._under_way
        found = bool(under_way)
        while under_way:
            receive, data = under_way.popleft()
            receive(data)
        return found

    def _to_server(self, near: asyncio.Protocol, accept: Callable[[], asyncio.Protocol]) -> Carry:
        far = accept()
        far.connection_made(Pipe(far, self._to(near.data_received)))
        return self._to(far.data_received)

    def _to(self, receive: Carry) -> Carry:
        put = self._under_way.append
        return lambda data: put((receive, data))

    def _to_engine(self, near: asyncio.Protocol, answer: Sequence[bytes]) -> Carry:
        put = self._under_way.extend
        pieces = [(near.data_received, piece) for piece in answer]
        return lambda data: put(pieces)


async def tape(role: str, request: bytes, *, last: bytes) -> Sequence[bytes]:
    """What a mock engine of this role answers, write by write, up to the one that ends with ``last``."""
    pieces: list[bytes] = []
    engine = Conversation(Engine(role, Transfers(), pace=0.0))
    engine.connection_made(Pipe(engine, pieces.append))
    engine.data_received(request)
    while not (pieces and pieces[-1].endswith(last)):  # noqa: ASYNC110  # the engine tells nobody
        await asyncio.sleep(0)
    return pieces
