"""A server with an engine's paths, whose requests go wrong by script: one entry of ``faults`` for each."""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

from aiohttp import web

from fakes.contract import Request, read


class Fault(Enum):
    """What becomes of one generation request."""

    NONE = auto()
    ERROR_500 = auto()
    BUSY_503 = auto()
    BUSY_429 = auto()
    REJECT_400 = auto()
    STALL = auto()  # never answers
    STALL_MID_STREAM = auto()
    DIE = auto()  # closes before the head
    DIE_MID_STREAM = auto()
    NO_PARAMS = auto()
    ERROR_EVENT_FIRST = auto()


STATUSES = {Fault.ERROR_500: 500, Fault.BUSY_503: 503, Fault.BUSY_429: 429, Fault.REJECT_400: 400}


@dataclass(frozen=True)
class Seen:
    kind: str  # prefill, decode, local, plain
    body: dict[str, Any]
    headers: Mapping[str, str]


class ScriptedEngine:
    """``seen`` are the requests that came, ``aborted`` counts those whose client left."""

    def __init__(self, name: str, *, tokens: int = 5) -> None:
        self.name, self.tokens = name, tokens
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.aborted = 0
        self.reached = asyncio.Event()  # a stall has been reached
        self.gap = 0.0
        self.healthy = True
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_post("/v1/completions", self._generate)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def kinds(self) -> list[str]:
        return [seen.kind for seen in self.seen]

    def metrics(self) -> str:
        raise NotImplementedError

    async def answer(self, http: web.Request, asked: Request) -> web.StreamResponse:
        """Judge the request, then go on with ``scripted``."""
        raise NotImplementedError

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake"}]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(text=self.metrics())

    async def _generate(self, http: web.Request) -> web.StreamResponse:
        try:
            return await self.answer(http, read(await http.read(), http.headers))
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            raise

    async def scripted(self, http: web.Request, fault: Fault) -> web.StreamResponse | None:
        """What a fault before the first byte makes of a request; None if it goes on."""
        if fault is Fault.STALL:
            self.reached.set()
            await asyncio.sleep(3600)
        if fault is Fault.DIE:
            assert http.transport is not None
            http.transport.abort()
            return web.Response()
        if fault in STATUSES:
            return self.error(STATUSES[fault])
        return None

    def error(self, status: int) -> web.Response:
        error = {"message": f"scripted {self.name}", "type": "Fake", "param": None}
        return web.json_response({"error": error}, status=status)

    async def stream(
        self,
        http: web.Request,
        body: dict[str, Any],
        *,
        usage: dict[str, Any],
        handed: dict[str, Any] | None,
        fault: Fault,
        count: int,
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await answer.prepare(http)

        async def event(thing: object) -> None:
            text = thing if isinstance(thing, str) else json.dumps(thing)
            await answer.write(f"data: {text}\n\n".encode())

        if fault is Fault.ERROR_EVENT_FIRST:
            await event({"error": {"message": "KV load failed", "code": 500}})
            return answer
        for i in range(count):
            choice: dict[str, Any] = {"index": 0, "delta": {"content": f"w{i} "}}
            chunk: dict[str, Any] = {"id": "x", "choices": [choice]}
            choice["finish_reason"] = "length" if i == count - 1 else None
            if i == count - 1 and handed is not None:
                chunk["kv_transfer_params"] = handed
            await event(chunk)
            if i == 1 and fault is Fault.STALL_MID_STREAM:
                self.reached.set()
                await asyncio.sleep(3600)
            if i == 1 and fault is Fault.DIE_MID_STREAM:
                assert http.transport is not None
                http.transport.abort()
                return answer
            await asyncio.sleep(self.gap)
        if (body.get("stream_options") or {}).get("include_usage"):
            await event({"id": "x", "choices": [], "usage": usage})
        await event("[DONE]")
        return answer

    def whole(self, usage: dict[str, Any], **more: object) -> web.Response:
        choice = {"index": 0, "message": {"content": "word"}, "finish_reason": "length"}
        return web.json_response(
            {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage, **more}
        )
