"""Between one operator and the API server: it forwards, and at chosen requests it fails, waits, or says so.

The operator's own code knows nothing of it: faults belong to the test, which names them by the request that
they hit. What a fault does happens before the request is forwarded. So "ended before the n-th write" is, as
far as anything stored can tell, the same as "ended after the one before it, without having seen its answer";
counting n up to the end of a job covers every boundary between two writes.

    with FaultProxy(kubeconfig) as proxy:
        proxy.faults.append(Fault(lambda call: call.writes, Answer(429, retry_after=1), times=3))
        ...  # an operator whose kubeconfig says ``proxy.url``

Plain HTTP towards the operator, on a loopback address of the test's namespace; its token goes on as it came.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp import web
from yarl import URL

from pdscale_e2e import kubeconfig

_OF_THE_CONNECTION: Final = {"host", "content-length", "transfer-encoding", "connection"}
_FAREWELL: Final = 5.0  # seconds for TLS connections that were cut off to be closed by both sides
_PATIENCE: Final = aiohttp.ClientTimeout(total=None, sock_connect=5)


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the operator; ``path`` without its query."""

    method: str
    path: str
    watches: bool

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def kind(self) -> str:
        """What it is about, without names: ``deployments/scale``; empty where it is in no namespace."""
        return "/".join(self.path.partition("/namespaces/")[2].split("/")[1::2])


@dataclass(frozen=True, slots=True)
class Answer:
    """Refuse with this status, as the API server words it."""

    status: int
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Forward it so many seconds late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Mute:
    """A watch: stay open and tell nothing more, not even its end, as where the other end has vanished."""


@dataclass(frozen=True, slots=True)
class Do:
    """Do this, and never answer: for whom it ends."""

    what: Callable[[], None]


Effect = Answer | Wait | Mute | Do


@dataclass(slots=True)
class Fault:
    """``effect`` for the calls that match, but for the first ``skip`` of them, and ``times`` at most."""

    match: Callable[[Call], bool]
    effect: Effect
    times: int | None = None
    skip: int = 0

    def hits(self, call: Call) -> bool:
        if self.times == 0 or not self.match(call):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(slots=True)
class FaultProxy:
    """Serves in a thread of its own. ``faults`` may change at any time; ``calls`` were asked so far."""

    upstream: Path
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    url: str = ""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    def __enter__(self) -> Self:
        ready: asyncio.Future[str] = self._loop.create_future()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)))
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(_result(ready), self._loop).result(30)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        if self._thread is not None:
            self._thread.join()
        self._loop.close()

    async def _serve(self, ready: "asyncio.Future[str]") -> None:
        access = kubeconfig.read(self.upstream)
        plugs: list[socket.socket] = []

        def plug(address: aiohttp.AddrInfoType) -> socket.socket:
            plugs.append(socket.socket(*address[:3]))
            return plugs[-1]

        connector = aiohttp.TCPConnector(ssl=access.tls, limit=0, socket_factory=plug)
        async with aiohttp.ClientSession(connector=connector, timeout=_PATIENCE, auto_decompress=False) as up:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await self._handle(request, up, access.server)

            app = web.Application(client_max_size=16 * 2**20)
            app.add_routes([web.route("*", "/{path:.*}", handle)])
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            ready.set_result(f"http://{host}:{port}")
            await self._over.wait()
            await runner.cleanup()
        async with asyncio.timeout(_FAREWELL):
            while any(p.fileno() != -1 for p in plugs):  # noqa: ASYNC110 - sockets tell nobody that they close
                await asyncio.sleep(0.01)

    async def _handle(
        self, request: web.Request, up: aiohttp.ClientSession, server: str
    ) -> web.StreamResponse:
        watches = request.query.get("watch") in ("1", "true", "True")
        call = Call(request.method, request.path, watches)
        self.calls.append(call)
        fault = next((f for f in self.faults if f.hits(call)), None)
        match None if fault is None else fault.effect:
            case Answer(status, retry_after):
                return _refusal(status, retry_after)
            case Do(what):
                what()
                await asyncio.Event().wait()
            case Wait(seconds):
                await asyncio.sleep(seconds)
        return await self._forward(request, call, up, server)

    async def _forward(
        self, request: web.Request, call: Call, up: aiohttp.ClientSession, server: str
    ) -> web.StreamResponse:
        body, url = await request.read(), URL(f"{server}{request.raw_path}", encoded=True)
        headers = _kept(request.headers)
        try:
            async with up.request(request.method, url, headers=headers, data=body or None) as found:
                answer = web.StreamResponse(status=found.status, headers=_kept(found.headers))
                await answer.prepare(request)
                async for piece in found.content.iter_any():
                    if not (call.watches and self._muted(call)):
                        await answer.write(piece)
                if call.watches and self._muted(call):
                    await asyncio.Event().wait()  # until who listens gives up
                await answer.write_eof()
                return answer
        except (aiohttp.ClientError, OSError) as error:
            if request.transport is not None:
                request.transport.close()  # as the server did
            raise web.HTTPBadGateway(text=str(error)) from error

    def _muted(self, call: Call) -> bool:
        return any(isinstance(f.effect, Mute) and f.match(call) for f in self.faults)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k.lower() not in _OF_THE_CONNECTION}


def _refusal(status: int, retry_after: int | None) -> web.Response:
    document = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": status,
        "message": "the test says so",
        "details": {} if retry_after is None else {"retryAfterSeconds": retry_after},
    }
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.Response(
        status=status, text=json.dumps(document), content_type="application/json", headers=headers
    )


async def _result(future: "asyncio.Future[str]") -> str:
    return await future
