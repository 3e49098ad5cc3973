"""A connection to a peer is kept for later errands: when it breaks meanwhile, the next one is told so."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from pdscale.emulator.frames import receive_frame, send_frame
from pdscale.emulator.side_channel import Peers, PeerUnreachable
from pdscale.emulator.transfer import Remote

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_an_errand_after_the_peer_was_killed_learns_that_it_was(run: Run) -> None:
    run(asyncio.wait_for(_tell_after_a_reset(), 10))


async def _tell_after_a_reset() -> None:
    async def greet_and_break(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receive_frame(reader)
        send_frame(writer, {"engine": "other"})
        await receive_frame(reader)
        at_once = struct.pack("ii", 1, 0)  # a reset, as of a process that was killed; no orderly end
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.transport.abort()

    server = await asyncio.start_server(greet_and_break, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    remote = Remote(engine="other", request="r", host=host, port=port, blocks=(1,), tokens=16)
    peers = Peers(timeout=1.0, clock=time.monotonic)

    async def tell_until_it_is_known() -> None:
        for _ in range(100):  # nobody answers a notice, so it takes one more to find out
            await peers.tell(remote, "done", ["r"])
            await asyncio.sleep(0.01)

    with pytest.raises(PeerUnreachable):
        await tell_until_it_is_known()
    await peers.close()
    server.close()
    await server.wait_closed()
