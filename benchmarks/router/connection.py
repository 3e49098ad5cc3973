"""A client's connection: what a proxy sends, as pieces of a body and an end.

Framing is read properly, because proxies cut and join chunks as they like; nothing else of HTTP is.
"""

import asyncio
import re
from typing import Final, Protocol, cast

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)")


class LoadFailed(RuntimeError):
    """The stack under test did not answer as it should; the message says what came instead."""


class Hears(Protocol):
    def piece(self, payload: bytes) -> None: ...

    def ended(self, status: int) -> None: ...

    def lost(self) -> None: ...


class Wire(asyncio.Protocol):
    """One connection; hands on each piece of an answer's body, and its end."""

    def __init__(self, listener: Hears) -> None:
        self._listener = listener
        self._buffer = b""
        self._status = 0
        self._left: int | None = None  # bytes of the body to come; ``None`` for a chunked one

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.lost()

    def send(self, request: bytes) -> None:
        self._transport.write(request)

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._status and not self._head():
            return
        payload, over = self._chunks() if self._left is None else self._counted()
        if payload:
            self._listener.piece(payload)
        if over:
            status, self._status = self._status, 0
            self._listener.ended(status)

    def _head(self) -> bool:
        head, mark, rest = self._buffer.partition(b"\r\n\r\n")
        if not mark:
            return False
        self._status, low = int(head[9:12]), head.lower()
        length = _LENGTH.search(low)
        if length is None and b"chunked" not in low:
            raise LoadFailed(f"an answer with neither length nor chunks: {head!r}")
        self._left, self._buffer = int(length[1]) if length else None, rest
        return True

    def _counted(self) -> tuple[bytes, bool]:
        payload, self._buffer = self._buffer, b""
        self._left = (self._left or 0) - len(payload)
        return payload, not self._left

    def _chunks(self) -> tuple[bytes, bool]:
        """The whole chunks that are here, joined."""
        buffer, at, parts, over = self._buffer, 0, [], False
        while not over and (line := buffer.find(b"\r\n", at)) >= 0:
            size = int(buffer[at:line], 16)
            end = line + 2 + size
            if len(buffer) < end + 2:
                break
            parts.append(buffer[line + 2 : end])
            at, over = end + 2, size == 0
        self._buffer = buffer[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts), over


async def dial(port: int, listener: Hears) -> Wire:
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(lambda: Wire(listener), "127.0.0.1", port)
    return wire
