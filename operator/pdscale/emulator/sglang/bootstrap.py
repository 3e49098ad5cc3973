"""The bootstrap server of emulated SGLang engines, and the way to others': one connection per round.

A decode leg connects to the prefill engine's server, says which room it is in and what it has, and gets one
answer on that connection: the KV, or that there will be none. Whoever goes away before is told by the end of
the connection. As in ``side_channel``, contents of blocks stand for their bytes.
"""

import asyncio
from typing import Any

from pdscale.emulator.blocks import Content
from pdscale.emulator.driver import Driver
from pdscale.emulator.frames import receive_frame, send_frame
from pdscale.emulator.listener import Listener
from pdscale.emulator.modes import Mode
from pdscale.emulator.sglang.errands import Errand, Leave, Meet, Refuse, Send
from pdscale.emulator.sglang.rooms import Rooms

_GONE = (OSError, EOFError, ValueError, KeyError, TypeError)


class BootstrapCourier:
    """Listens in either mode, since a mode may change, but lets decode legs in as a prefill engine only."""

    def __init__(self, driver: Driver, rooms: Rooms) -> None:
        self._driver = driver
        self._rooms = rooms
        self._listener = Listener(self._welcome)
        self._guests: dict[int, asyncio.StreamWriter] = {}
        self._visits: dict[str, asyncio.Task[Any]] = {}

    async def open(self, host: str, port: int) -> int:
        return await self._listener.start(host, port)

    async def close(self) -> None:
        await self._listener.close()

    # A prefill engine's side.

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = None
        try:
            asked = await receive_frame(reader)
            number, have = int(asked["room"]), int(asked["have"])
            if self._rooms.mode is not Mode.PREFILL or number in self._guests:
                raise ValueError(f"room {number} must be free and at a prefill engine")
            self._guests[number] = writer
            self._rooms.hosting.meet(number, have, self._driver.now())
            self._driver.react()
            await reader.read()  # until the guest goes
        except _GONE:
            pass  # the guest left or talks nonsense: all the same to us
        finally:
            if number is not None and self._guests.get(number) is writer:
                del self._guests[number]
                self._rooms.hosting.left(number)
                self._driver.react()

    async def _answer(self, number: int, message: object) -> None:
        writer = self._guests.pop(number, None)
        if writer is None:
            return
        try:
            send_frame(writer, message)
            await writer.drain()
        except OSError:
            pass  # the decode leg is gone; so is its interest
        finally:
            writer.close()

    # A decode engine's side.

    async def run(self, errand: Errand) -> None:
        match errand:
            case Meet(request):
                await self._visit(errand, request)
            case Leave(request):
                task = self._visits.get(request)
                if task is not None:
                    task.cancel()
            case Send(number, contents, ready_in, cached):
                kv = [tuple(content) for content in contents]
                await self._answer(number, {"contents": kv, "ready_in": ready_in, "cached": cached})
            case Refuse(number, reason):
                await self._answer(number, {"refused": reason})

    async def _visit(self, meet: Meet, request: str) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._visits[request] = task
        try:
            answer = await _ask(meet)
            contents = tuple(Content(seen, tuple(tokens)) for seen, tokens in answer["contents"])
            ready_in, cached = float(answer["ready_in"]), int(answer["cached"])
        except _GONE:
            self._rooms.visiting.refused(request)
        else:
            now = self._driver.now()
            self._rooms.visiting.deliver(request, contents, ready_in=ready_in, cached=cached, now=now)
        finally:
            self._visits.pop(request, None)
            self._driver.react()


async def _ask(meet: Meet) -> Any:
    reader, writer = await asyncio.open_connection(meet.room.host, meet.room.port)
    try:
        send_frame(writer, {"room": meet.room.number, "have": meet.have})
        await writer.drain()
        return await receive_frame(reader)
    finally:
        writer.close()
