"""A node that has gone sends nothing, not even an end: the kernel has to ask."""

import asyncio
import socket
import sys

import pytest

from fakes.raw import Then, raw_peer
from pdscale.router.wire.link import notice_loss


@pytest.mark.skipif(sys.platform != "linux", reason="the options have other names elsewhere")
async def test_the_kernel_ends_a_connection_without_a_sign_of_life() -> None:
    async with raw_peer([Then.STALL]) as peer:
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, "127.0.0.1", peer.port
        )
        notice_loss(transport)
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, each, count, unacknowledged = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,
            )
        )
        assert idle + each * count <= 20
        assert unacknowledged == 15_000
        transport.close()
