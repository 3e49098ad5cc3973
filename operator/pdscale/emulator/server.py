"""The engine's HTTP server: what all emulated engines have, around the face of one of them."""

import asyncio
import logging
import time
from types import TracebackType
from typing import Any, Final, Self

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pdscale.emulator.driver import Driver
from pdscale.emulator.engine import Engine
from pdscale.emulator.face import Face, json_answer
from pdscale.emulator.generation import Generation
from pdscale.emulator.openai import Kind
from pdscale.emulator.refusals import NOT_READY
from pdscale.emulator.settings import Protocol, Settings
from pdscale.emulator.sglang.face import SglangFace
from pdscale.emulator.transfers import EngineDied
from pdscale.emulator.vllm_face import VllmFace

_LOG: Final = logging.getLogger(__name__)
_LARGEST_BODY: Final = 256 * 2**20
_CUT_OFF: Final = 0.01  # seconds; aiohttp takes 0 for "wait for ever"


class EngineServer:
    """One emulated engine that listens. ``died`` is set when a request has killed it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = 0
        self.died = asyncio.Event()
        sglang = settings.protocol is Protocol.SGLANG
        self.face: Face = SglangFace(settings) if sglang else VllmFace(settings)
        self._draining = False
        self._created = int(time.time())

    @property
    def engine(self) -> Engine:
        return self._driver.engine

    async def start(self) -> None:
        settings, face = self.settings, self.face
        self._driver = Driver(Engine(settings.profile, settings.limits, transfers=face.transfers))
        await face.open(self._driver)
        self._generate = Generation(self._driver, face)
        self._registry = face.registry(started=time.time())
        loop = asyncio.get_running_loop()
        self.ready_at = loop.time() + settings.start_up
        self._running = loop.create_task(self._live())
        self._runner = web.AppRunner(
            self._app(), access_log=None, handler_cancellation=True, shutdown_timeout=_CUT_OFF
        )
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, settings.host, settings.port, backlog=1024)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self, *, drain: float = 0.0) -> None:
        """Take no new requests, let the running ones end within ``drain`` seconds, go."""
        if self._draining:
            return
        self._draining = True
        await self._site.stop()
        if self._generate.inflight and drain > 0:
            try:
                await asyncio.wait_for(self._generate.idle.wait(), drain)
            except TimeoutError:
                pass  # what still runs is cut off below
        await self._runner.cleanup()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._driver.close()
        await self.face.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _live(self) -> None:
        """Until a request or a mistake of ours kills the engine: then nothing may look alive."""
        try:
            await self._driver.run()
        except EngineDied as death:
            _LOG.error("the engine died: %s", death)
            self.died.set()
        except Exception:
            _LOG.exception("the engine's loop ended by a mistake")
            self.died.set()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._gate()])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._completion)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.add_routes(self.face.routes(self._generate, lambda: self._generate.inflight))
        return app

    def _gate(self) -> Middleware:
        """An engine that loads its weights answers nothing but 503, nor does a dead or leaving one."""

        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            starting = asyncio.get_running_loop().time() < self.ready_at
            if starting or self.died.is_set() or (self._draining and request.method == "POST"):
                return json_answer(NOT_READY.status, self.face.error(NOT_READY))
            try:
                return await handler(request)
            except web.HTTPException as refused:  # a path or a method that there is not
                answer = json_answer(refused.status, orjson.dumps({"detail": refused.reason}))
                if "Allow" in refused.headers:
                    answer.headers["Allow"] = refused.headers["Allow"]
                return answer

        return gate

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, Kind.CHAT)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, Kind.COMPLETION)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _models(self, _: web.Request) -> web.Response:
        served = self.settings.served
        cards: list[dict[str, Any]] = [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": self.settings.protocol.value,
                "root": served.models[0],
                "parent": None,
                "max_model_len": served.max_model_len,
                "permission": [],
            }
            for name in served.models
        ]
        return json_answer(200, orjson.dumps({"object": "list", "data": cards}))
