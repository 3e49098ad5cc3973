"""A peer and a client that say exactly what a test tells them to, byte for byte."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto


class Then(Enum):
    """What a peer does after its bytes."""

    CLOSE = auto()
    ABORT = auto()
    STALL = auto()


Script = Sequence[bytes | Then]

_LARGEST = 2**26

OK = b"HTTP/1.1 200 OK\r\n"


def whole(content: bytes, *, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


STREAM_HEAD = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class RawPeer:
    """Answers each request with the next script, or with the last one again."""

    scripts: deque[Script]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    left: int = 0  # connections that the other side ended
    port: int = 0
    taken: asyncio.Event = field(default_factory=asyncio.Event)  # a request has arrived

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await read_message(reader):
                self.requests.append(request)
                self.taken.set()
                script = self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]
                for step in script:
                    if step is Then.STALL:
                        await reader.read()
                        return
                    if step is Then.ABORT:
                        writer.transport.abort()
                        return
                    if step is Then.CLOSE:
                        return
                    writer.write(step)
                    await writer.drain()
            self.left += 1
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left += 1
        finally:
            writer.close()


@asynccontextmanager
async def raw_peer(*scripts: Script) -> AsyncIterator[RawPeer]:
    peer = RawPeer(deque(scripts))
    server = await asyncio.start_server(peer._serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One message with its body, by length or by chunks; empty when the other side has closed."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as ended:
        return ended.partial
    lines = head.lower().split(b"\r\n")
    for line in lines:
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    if b"transfer-encoding: chunked" in lines:
        while not head.endswith(b"0\r\n\r\n"):
            head += await reader.readuntil(b"\r\n")
    return head


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LARGEST)
    try:
        yield reader, writer
    finally:
        writer.close()


async def tell(port: int, *pieces: bytes) -> bytes:
    """Everything that comes back until the other side closes."""
    async with connected(port) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), 5)
