"""Messages between emulated engines: a length of four bytes, and JSON."""

import asyncio
import struct
from typing import Any, Final

import orjson

_LENGTH: Final = struct.Struct(">I")
_LARGEST: Final = 256 * 2**20


def send_frame(writer: asyncio.StreamWriter, message: object) -> None:
    body = orjson.dumps(message)
    writer.write(_LENGTH.pack(len(body)) + body)


async def receive_frame(reader: asyncio.StreamReader) -> Any:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > _LARGEST:
        raise ValueError(f"a frame must be at most {_LARGEST} bytes, got {length}")
    return orjson.loads(await reader.readexactly(length))
