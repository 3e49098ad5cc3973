"""The device plugin side of a kubelet: takes registrations, then calls the plugin back, on unix sockets.

Like the real one it empties the folder when it starts, and makes its socket anew.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from pdscale_e2e.gpu_plugin import messages


class Refused(Exception):
    """The plugin answered a call with this status."""


class Kubelet:
    """``registrations`` holds every request that nobody has taken yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registrations: asyncio.Queue[Any] = asyncio.Queue()
        self._server: Any = None

    async def start(self) -> "Kubelet":
        for socket in self.folder.glob("*"):
            socket.unlink(missing_ok=True)  # the plugin's own may go in the meantime
        take = grpc.unary_unary_rpc_method_handler(
            self._register,
            request_deserializer=messages.RegisterRequest.FromString,
            response_serializer=messages.Empty.SerializeToString,
        )
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("v1beta1.Registration", {"Register": take}),)
        )
        self._server.add_insecure_port(f"unix:{self.folder / 'kubelet.sock'}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        await self._server.stop(None)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def _register(self, request: Any, context: Any) -> Any:
        # The real kubelet answers only once it has reached the plugin.
        async with self.plugin(request.endpoint) as plugin:
            await plugin.options()
        await self.registrations.put(request)
        return messages.Empty()

    async def registered(self, within: float = 5.0) -> Any:
        return await asyncio.wait_for(self.registrations.get(), within)

    @asynccontextmanager
    async def plugin(self, endpoint: str) -> AsyncIterator["Plugin"]:
        async with grpc.aio.insecure_channel(f"unix:{self.folder / endpoint}") as channel:
            yield Plugin(channel)


class Plugin:
    """A plugin's calls as the kubelet makes them."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def options(self) -> Any:
        return await self._call("GetDevicePluginOptions", messages.DevicePluginOptions)(
            messages.Empty(), timeout=5
        )

    async def allocate(self, *containers: Sequence[str]) -> list[dict[str, str]]:
        """The environment of each container, given its devices."""
        request = messages.AllocateRequest(container_requests=[{"devices_ids": ids} for ids in containers])
        try:
            answer = await self._call("Allocate", messages.AllocateResponse)(request, timeout=5)
        except grpc.aio.AioRpcError as error:
            raise Refused(f"{error.code().name}: {error.details()}") from error
        return [{v.key: v.value for v in each.envs} for each in answer.container_responses]

    @asynccontextmanager
    async def listings(self) -> AsyncIterator[AsyncIterator[dict[str, str]]]:
        """The stream of device lists: health by id."""
        call = self._channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            request_serializer=messages.Empty.SerializeToString,
            response_deserializer=messages.ListAndWatchResponse.FromString,
        )(messages.Empty(), timeout=10)

        async def each() -> AsyncIterator[dict[str, str]]:
            async for answer in call:
                yield {device.ID: device.health for device in answer.devices}

        try:
            yield each()
        finally:
            call.cancel()

    def _call(self, name: str, answer: Any) -> Any:
        return self._channel.unary_unary(
            f"/v1beta1.DevicePlugin/{name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=answer.FromString,
        )
