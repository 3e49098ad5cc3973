"""A listener that closes leaves nobody waiting."""

import asyncio
import socket

from pdscale.emulator.listener import Listener


async def _for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_caller_that_has_said_nothing_yet_is_told() -> None:
    begun = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.set()
        await _for_ever(reader, writer)

    listener = Listener(talk)
    reader, writer = await asyncio.open_connection("127.0.0.1", await listener.start("127.0.0.1", 0))
    await begun.wait()
    await listener.close()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_a_caller_whose_connection_is_being_accepted_is_told() -> None:
    listener = Listener(_for_ever)
    port = await listener.start("127.0.0.1", 0)
    caller = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), 5)
    await listener.close()
    with caller:
        assert await _ending(caller) in (b"", None)


async def _ending(caller: socket.socket) -> bytes | None:
    """What comes last: nothing more, or a reset (None). ``TimeoutError`` when nothing does."""
    try:
        return await asyncio.to_thread(caller.recv, 1)
    except ConnectionResetError:
        return None
