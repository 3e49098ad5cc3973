"""Both directions of the device plugin API, over the kubelet's unix sockets.

The only file that speaks gRPC, which has no types of its own. The kubelet calls back while it answers a
registration, so ``serving`` must come before ``register``.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from pdscale_e2e.gpu_plugin import messages
from pdscale_e2e.gpu_plugin.gpus import Gpus, Health, UnknownGpu

_ANSWER_WITHIN: Final = 10.0  # seconds; the kubelet itself waits as long for its call back


class KubeletUnavailable(ConnectionError):
    """The kubelet did not take the registration. It may be restarting: try again."""


class _DevicePlugin:
    """What the kubelet calls; one method per call of the service."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus

    async def options(self, request: Any, context: Any) -> Any:
        return messages.DevicePluginOptions()

    async def list_and_watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for health in self._gpus.watch():
            yield messages.ListAndWatchResponse(devices=_devices(health))

    async def allocate(self, request: Any, context: Any) -> Any:
        try:
            given = [self._gpus.environment(each.devices_ids) for each in request.container_requests]
        except UnknownGpu as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise  # abort has raised already
        return messages.AllocateResponse(container_responses=[{"envs": _variables(env)} for env in given])


def _devices(health: Mapping[str, Health]) -> list[dict[str, str]]:
    return [{"ID": name, "health": state.value} for name, state in health.items()]


def _variables(environment: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in environment.items()]


def _service(plugin: _DevicePlugin) -> Any:
    def answers(handler: Any, call: Any, request: Any) -> Any:
        return handler(
            call,
            request_deserializer=request.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )

    once, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    calls = {
        "GetDevicePluginOptions": answers(once, plugin.options, messages.Empty),
        "ListAndWatch": answers(stream, plugin.list_and_watch, messages.Empty),
        "Allocate": answers(once, plugin.allocate, messages.AllocateRequest),
    }
    return grpc.method_handlers_generic_handler(f"{messages.PACKAGE}.DevicePlugin", calls)


@asynccontextmanager
async def serving(gpus: Gpus, socket: Path) -> AsyncIterator[None]:
    """Answer the kubelet's calls; the socket is gone afterwards."""
    _remove(socket)  # a plugin that was killed leaves one
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_service(_DevicePlugin(gpus)),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        # No grace: ListAndWatch never ends by itself.
        await server.stop(None)
        _remove(socket)


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)


async def register(kubelet: Path, *, endpoint: str, resource: str) -> None:
    """Tell the kubelet that ``endpoint``, a socket beside its own, serves ``resource``."""
    request = messages.RegisterRequest(
        version=messages.PACKAGE,
        endpoint=endpoint,
        resource_name=resource,
        options=messages.DevicePluginOptions(),
    )
    async with grpc.aio.insecure_channel(f"unix:{kubelet}") as channel:
        call = channel.unary_unary(
            f"/{messages.PACKAGE}.Registration/Register",
            request_serializer=messages.RegisterRequest.SerializeToString,
            response_deserializer=messages.Empty.FromString,
        )
        try:
            await call(request, timeout=_ANSWER_WITHIN)
        except grpc.aio.AioRpcError as error:
            raise KubeletUnavailable(f"{kubelet}: {error.code().name}: {error.details()}") from error
