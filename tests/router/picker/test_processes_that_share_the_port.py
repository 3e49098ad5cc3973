"""A front of several processes as an endpoint picker: one port, one sum of what was picked."""

import asyncio
import socket
from collections.abc import Iterator

import grpc.aio
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as ext_proc_grpc

from fakes.fleet import running_fleet
from fakes.gateway import Gateway
from fakes.programs import programs

TRIES = 16


@pytest.fixture
def port() -> Iterator[int]:
    """A free one, held for those that share it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_whichever_process_a_connection_is_dealt_to_picks(port: int) -> None:
    async with running_fleet(prefill=0, decode=2) as fleet, programs() as started:
        peers = ",".join(
            f"decode={name}=127.0.0.1:{r.port}:{r.admin_port}" for name, r in fleet.sidecars.items()
        )
        arguments = ("--place", "front", "--processes", "2", "--static-endpoints", peers)
        front = await started.router(*arguments, "--endpoint-picker-port", str(port))
        ready = 0
        async with asyncio.timeout(60):
            while ready != 200:
                async with fleet.client.get(f"{front.admin}/readyz") as answer:
                    ready = answer.status
        for _ in range(TRIES):
            # A pool of its own, so that each is a new connection, which the kernel deals out anew.
            options = (("grpc.use_local_subchannel_pool", 1),)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
                gateway = Gateway(fleet, ext_proc_grpc.ExternalProcessorStub(channel))
                reply = await gateway.chat(
                    [{"role": "user", "content": "hello"}], headers={"x-session-id": "s"}
                )
                assert reply.status == 200
        async with fleet.client.get(f"{front.admin}/metrics") as answer:
            counted = [ln for ln in (await answer.text()).splitlines() if "requests_received_total{" in ln]
        assert counted == [f'pdscale_router_requests_received_total{{place="front"}} {float(TRIES)}']
        assert await front.end() == 0
