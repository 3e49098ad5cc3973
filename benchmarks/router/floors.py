"""What a proxy on CPython and uvloop costs at the least: rows to read ours beside, and to judge goals by.

    splice   bytes to and fro, one connection to the engine for each client: no HTTP at all
    plain    a head written anew, a connection out of a pool, the answer's end found: no policy, no figures
    split    the same twice, with the body parsed, transfer parameters read and put in: a P/D round's least

None of them is a router: no limits, no time-outs, no back-pressure, no errors, nothing learned and nothing
hidden from the client. They rely on what engine and clients here send: heads in one read, lengths in
``Content-Length``, one request at a time.
"""

import argparse
import asyncio
import gc
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, cast

import orjson
import uvloop

HOST: Final = "127.0.0.1"
_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_LENGTH: Final = b"Content-Length: "
_PREFILL: Final[dict[str, Any]] = {
    "stream": False,
    "max_tokens": 1,
    "kv_transfer_params": {"do_remote_decode": True, "do_remote_prefill": False},
}

_under_way: Final[set[asyncio.Task[None]]] = set()


def _see_to(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)


def _length(head: bytes) -> int | None:
    """Of the body that follows; ``None`` for a chunked one."""
    at = head.find(_LENGTH)
    return None if at < 0 else int(head[at + len(_LENGTH) :].partition(b"\r")[0])


class Splice(asyncio.Protocol):
    """One end of two; ``other`` is the transport of the opposite one."""

    def __init__(self, engine: int | None) -> None:
        self._engine = engine
        self.other: asyncio.Transport | None = None
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._engine is not None:
            _see_to(self._join(self._engine))

    async def _join(self, engine: int) -> None:
        loop = asyncio.get_running_loop()
        _, far = await loop.create_connection(lambda: Splice(None), HOST, engine)
        self.other, far.other = far.transport, self.transport
        if self._early:
            self.other.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


class Engine:
    """One engine, and the idle connections to it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.host_line = b"Host: %s:%d\r\n" % (HOST.encode(), port)
        self.idle: list[Leg] = []

    def lend(self, borrow: Callable[["Leg"], None]) -> None:
        if self.idle:
            borrow(self.idle.pop())
        else:
            _see_to(self._connected(borrow))

    async def _connected(self, borrow: Callable[["Leg"], None]) -> None:
        loop = asyncio.get_running_loop()
        _, leg = await loop.create_connection(lambda: Leg(self), HOST, self._port)
        borrow(leg)


class Leg(asyncio.Protocol):
    """A connection to an engine: each piece of an answer goes to ``take``, and ``True`` with the last one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._begun, self._left = False, 0
        self.take: Callable[[bytes, bool], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.take is None:
            raise RuntimeError("an answer that nobody asked for")
        if not self._begun:
            self._begun, end = True, data.index(_END)
            length = _length(data[:end])
            self._left = -1 if length is None else end + 4 + length
        if self._left < 0:
            over = data.endswith(_LAST_CHUNK)
        else:
            self._left -= len(data)
            over = not self._left
        take = self.take
        if over:
            self._begun, self.take = False, None
            self._engine.idle.append(self)
        take(data, over)


class Client(asyncio.Protocol):
    """A client's connection: its requests, one after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def relay(self, piece: bytes, over: bool) -> None:
        self.transport.write(piece)


class Plain(Client):
    """Passes each request on as it comes, with a head that names the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._leg: Leg | None = None
        self._early: list[bytes] = []
        self._left = 0

    def data_received(self, data: bytes) -> None:
        if not self._left:
            end = data.index(_END)
            start, *lines = data[:end].split(b"\r\n")
            kept = b"\r\n".join([line for line in lines if not line.startswith(b"Host:")])
            head = b"%s\r\n%s%s" % (start, self._engine.host_line, kept)
            self._left = end + 4 + (_length(data[:end]) or 0)
            self._early = [head, data[end:]]
            self._leg = None
            self._left -= len(data)
            self._engine.lend(self._go)
            return
        self._left -= len(data)
        if self._leg is None:
            self._early.append(data)
        else:
            self._leg.transport.write(data)

    def _go(self, leg: Leg) -> None:
        leg.take, self._leg = self.relay, leg
        leg.transport.write(b"".join(self._early))


class Split(Client):
    """A leg for one token to the prefill engine, then the request with what that one answered."""

    def __init__(self, engine: Engine, prefill: Engine) -> None:
        self._engine, self._prefill = engine, prefill
        self._pieces: list[bytes] = []
        self._answer = b""
        self._left = 0

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        if not self._left:
            end = data.index(_END)
            self._left = end + 4 + (_length(data[:end]) or 0)
        self._left -= len(data)
        if self._left:
            return
        whole, self._pieces = b"".join(self._pieces), []
        head, _, self._content = whole.partition(_END)
        start, *lines = head.split(b"\r\n")
        kept = [line for line in lines if not line.startswith((b"Host:", _LENGTH))]
        self._start, self._lines = start, b"\r\n".join(kept)
        self._leg_body = orjson.dumps({**orjson.loads(self._content), **_PREFILL})
        self._prefill.lend(self._compute)

    def _compute(self, leg: Leg) -> None:
        self._answer = b""
        leg.take = self._computed
        self._send(leg, self._prefill, self._leg_body)

    def _computed(self, piece: bytes, over: bool) -> None:
        self._answer = self._answer + piece if self._answer else piece
        if over:
            params = orjson.loads(self._answer.partition(_END)[2])["kv_transfer_params"]
            self._content = b'{"kv_transfer_params":%s,%s' % (orjson.dumps(params), self._content[1:])
            self._engine.lend(self._decode)

    def _decode(self, leg: Leg) -> None:
        leg.take = self.relay
        self._send(leg, self._engine, self._content)

    def _send(self, leg: Leg, engine: Engine, content: bytes) -> None:
        leg.transport.write(
            b"%s\r\n%s%s\r\n%s%d\r\n\r\n%s"
            % (self._start, engine.host_line, self._lines, _LENGTH, len(content), content)
        )


async def serve(kind: str, port: int, decode: int, prefill: int) -> None:
    makes: dict[str, Callable[[], asyncio.Protocol]] = {
        "splice": partial(Splice, decode),
        "plain": partial(Plain, Engine(decode)),
        "split": partial(Split, Engine(decode), Engine(prefill)),
    }
    server = await asyncio.get_running_loop().create_server(makes[kind], HOST, port, backlog=4096)
    gc.freeze()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("splice", "plain", "split"))
    for name in ("port", "decode", "prefill"):
        parser.add_argument(name, type=int)
    asked = parser.parse_args()
    uvloop.run(serve(asked.kind, asked.port, asked.decode, asked.prefill))
