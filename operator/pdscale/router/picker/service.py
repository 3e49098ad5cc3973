"""The picker's port: ext_proc, and gRPC's health service, which gateways probe pickers by.

The only file that speaks gRPC, which has no types of its own. A call is a coroutine that writes, not a
generator that yields: one that is cancelled while the other side does not read has then ended here, too.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as ext_proc_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from pdscale.router.picker.desk import Desk
from pdscale.router.picker.dialogue import Dialogue, OutOfTurn

EXT_PROC: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
_LIVENESS: Final = "liveness"
_ASKED_FOR: Final = ("", "readiness", EXT_PROC)
_ENVELOPE: Final = 64 * 1024  # of a message around a body

Ready = Callable[[], Awaitable[str]]
"""Empty, or why not."""


class PickerService:
    """``port`` is the real one once it has started."""

    def __init__(
        self, desk: Desk, ready: Ready, *, certificate: tuple[Path, Path] | None, share_port: bool
    ) -> None:
        """``certificate``: the files of a chain and its key. ``share_port``: among processes."""
        self.port = 0
        self._certificate = certificate
        self._server = grpc.aio.server(
            options=(
                ("grpc.so_reuseport", int(share_port)),
                ("grpc.max_receive_message_length", desk.largest_body + _ENVELOPE),
                ("grpc.max_send_message_length", -1),
            )
        )
        ext_proc_grpc.add_ExternalProcessorServicer_to_server(_ExternalProcessor(desk), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(_Health(ready), self._server)

    async def listen(self, host: str, port: int) -> None:
        """Raises ``OSError`` if the port cannot be had."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._certificate is None:
                self.port = self._server.add_insecure_port(address)
            else:
                chain, key = (file.read_bytes() for file in self._certificate)
                credentials = grpc.ssl_server_credentials(((key, chain),))
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"the endpoint picker cannot listen on {address}: {error}") from error
        await self._server.start()

    async def stop(self) -> None:
        """What is open is broken off: a drain has waited for it."""
        await self._server.stop(None)


class _ExternalProcessor(ext_proc_grpc.ExternalProcessorServicer):  # type: ignore[misc]
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Process(self, requests: AsyncIterator[Any], context: Any) -> None:
        dialogue = Dialogue(self._desk)
        try:
            async for request in requests:
                for response in dialogue.feed(request):
                    await context.write(response)
                if dialogue.over:
                    return
        except OutOfTurn as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            dialogue.close()


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    def __init__(self, ready: Ready) -> None:
        self._ready = ready

    async def Check(self, request: Any, context: Any) -> Any:
        """Alive as long as it answers; ready as the router's admin port says it."""
        status = health_pb2.HealthCheckResponse
        if request.service == _LIVENESS:
            return status(status=status.SERVING)
        if request.service not in _ASKED_FOR:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service}")
        return status(status=status.NOT_SERVING if await self._ready() else status.SERVING)
