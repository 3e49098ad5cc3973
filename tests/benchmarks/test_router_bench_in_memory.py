"""The router's own time: the network in memory, and that every place answers on it."""

import asyncio

import pytest
from benchmarks.router import own_time
from benchmarks.router.memory import HOST, MemoryLoop
from benchmarks.router.own_time import PLACES, Place


class Ear(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)


def test_what_is_written_is_heard_once_it_is_carried_and_in_order() -> None:
    async def talk() -> list[bytes]:
        loop, far = asyncio.get_running_loop(), Ear()
        assert isinstance(loop, MemoryLoop)
        await loop.create_server(lambda: far, HOST, 7)
        transport, _ = await loop.create_connection(Ear, HOST, 7)
        transport.write(b"one")
        transport.writelines([b"t", b"wo"])
        assert far.heard == []
        assert loop.carry()
        assert not loop.carry()
        return far.heard

    with asyncio.Runner(loop_factory=MemoryLoop) as runner:
        assert runner.run(talk()) == [b"one", b"two"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_each_place_answers_requests_that_never_see_a_socket(place: Place, stream: bool) -> None:
    if place.leg and stream:
        pytest.skip("prefill legs are no streams")

    async def ask() -> None:
        async with own_time.clients(place, stream=stream) as ask:
            await asyncio.wait_for(ask(40), 20)

    with asyncio.Runner(loop_factory=MemoryLoop) as runner:
        runner.run(ask())


def test_an_answer_that_is_an_error_is_no_figure() -> None:
    async def ask() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MemoryLoop)
        async with own_time.clients(PLACES[1], stream=False) as ask:
            loop.engines[2] = [b"HTTP/1.1 500 Broken\r\ncontent-length: 2\r\n\r\n{}"]
            await asyncio.wait_for(ask(1), 20)

    with asyncio.Runner(loop_factory=MemoryLoop) as runner, pytest.raises(RuntimeError, match="500"):
        runner.run(ask())
