"""The engine's HTTP face: vLLM's paths, bodies and streams over a ``Driver``.

A stream begins with its first token and not before, so that everything that goes wrong until then is
an honest status code. A client that leaves takes its request with it.
"""

import asyncio
import logging
import secrets
import time
from types import TracebackType
from typing import Any, Final, Self

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from pdscale.emulator.connector import EngineDied
from pdscale.emulator.driver import Driver, Ticket
from pdscale.emulator.engine import Engine
from pdscale.emulator.exposition import registry_of
from pdscale.emulator.openai import (
    DONE,
    Asked,
    Kind,
    Refused,
    Reply,
    bad,
    error_body,
    read_body,
    read_request,
)
from pdscale.emulator.options import VERSION, Settings
from pdscale.emulator.sequence import Finish
from pdscale.emulator.side_channel import SideChannel
from pdscale.emulator.transfer import BadTransferParams, Origin, parse_params

_LOG: Final = logging.getLogger(__name__)
_LARGEST_BODY: Final = 256 * 2**20
_CUT_OFF: Final = 0.01  # seconds; aiohttp takes 0 for "wait for ever"
_FAILED: Final = error_body(500, "InternalServerError", "Internal server error")
_PREFIX: Final = {Kind.CHAT: "chatcmpl-", Kind.COMPLETION: "cmpl-"}


class EngineServer:
    """One emulated engine that listens. ``died`` is set when a request has killed it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = 0
        self.died = asyncio.Event()
        self._inflight = 0
        self._idle = asyncio.Event()
        self._draining = False
        self._created = int(time.time())
        self._origin = Origin(secrets.token_hex(16), settings.side_channel_host, 0)

    @property
    def engine(self) -> Engine:
        return self._driver.engine

    async def start(self) -> None:
        settings = self.settings
        self._driver = Driver(
            Engine(
                settings.profile,
                settings.limits,
                transfer=settings.transfer,
                origin=self._origin,
            )
        )
        await self._open_side_channel()
        model = settings.served.models[0]
        self._registry = registry_of(self.engine, model=model, started=time.time())
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
        if self._inflight and drain > 0:
            try:
                await asyncio.wait_for(self._idle.wait(), drain)
            except TimeoutError:
                pass  # what still runs is cut off below
        await self._runner.cleanup()
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._driver.close()
        if self.settings.transfer is not None:
            await self._side_channel.close()

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

    async def _open_side_channel(self) -> None:
        connector = self.engine.connector
        if connector is None:
            return
        host, port = self.settings.side_channel_host, self.settings.side_channel_port
        self._side_channel = SideChannel(self._origin.engine, self._driver)
        bound = await self._side_channel.start(host, port)
        connector.origin = Origin(self._origin.engine, host, bound)

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
        app.router.add_get("/version", self._version)
        app.router.add_get("/load", self._load)
        app.router.add_get("/metrics", self._metrics)
        return app

    def _gate(self) -> Middleware:
        """An engine that loads its weights answers nothing but 503, nor does a dead or leaving one."""

        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            starting = asyncio.get_running_loop().time() < self.ready_at
            if starting or self.died.is_set() or (self._draining and request.method == "POST"):
                return _json(503, error_body(503, "ServiceUnavailable", "The engine is not ready"))
            return await handler(request)

        return gate

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, _: web.Request) -> web.Response:
        return _json(200, orjson.dumps({"version": VERSION}))

    async def _load(self, _: web.Request) -> web.Response:
        return _json(200, orjson.dumps({"server_load": self._inflight}))

    async def _models(self, _: web.Request) -> web.Response:
        served = self.settings.served
        cards: list[dict[str, Any]] = [
            {
                "id": name,
                "object": "model",
                "created": self._created,
                "owned_by": "vllm",
                "root": served.models[0],
                "parent": None,
                "max_model_len": served.max_model_len,
                "permission": [],
            }
            for name in served.models
        ]
        return _json(200, orjson.dumps({"object": "list", "data": cards}))

    async def _metrics(self, _: web.Request) -> web.Response:
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, Kind.CHAT)

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        return await self._generate(request, Kind.COMPLETION)

    async def _generate(self, http: web.Request, kind: Kind) -> web.StreamResponse:
        name = _PREFIX[kind] + (http.headers.get("X-Request-Id") or secrets.token_hex(16))
        try:
            asked = self._read(http, kind, name, await http.read())
        except Refused as refused:
            return _json(refused.status, refused.body)
        reply = Reply(asked, name, int(time.time()), self.settings.served.prompt_tokens_details)
        ticket = self._driver.submit(asked.request)
        self._inflight += 1
        self._idle.clear()
        try:
            answer = self._stream if asked.stream else self._whole
            return await answer(http, reply, ticket)
        finally:
            self._driver.leave(ticket)
            self._inflight -= 1
            if not self._inflight:
                self._idle.set()

    def _read(self, http: web.Request, kind: Kind, name: str, raw: bytes) -> Asked:
        """A refused decode leg frees its prefill leg's blocks at once."""
        body = read_body(raw)
        try:
            return read_request(
                body,
                kind=kind,
                name=f"{name}-{secrets.token_hex(4)}",  # the name on this engine must be unique
                served=self.settings.served,
                headers=http.headers,
            )
        except Refused:
            try:
                self._driver.give_up(parse_params(body.get("kv_transfer_params")))
            except BadTransferParams as error:
                raise bad("kv_transfer_params", str(error)) from error
            raise

    async def _whole(self, _: web.Request, reply: Reply, ticket: Ticket) -> web.StreamResponse:
        tokens = []
        while True:
            output = await ticket.outputs.get()
            if output.token is not None:
                tokens.append(output.token)
            if output.finish is Finish.ERROR:
                return _json(500, _FAILED)
            if output.finish is not None:
                cached = ticket.sequence.cached
                return _json(200, reply.whole(tokens, output.finish, cached, output.params))

    async def _stream(self, http: web.Request, reply: Reply, ticket: Ticket) -> web.StreamResponse:
        output = await ticket.outputs.get()
        if output.finish is Finish.ERROR:
            return _json(500, _FAILED)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(http)
        events, generated = reply.opening(), 0
        while output.token is not None:
            generated += 1
            events += reply.token(
                output.token, first=generated == 1, finish=output.finish, params=output.params
            )
            if output.finish is not None:
                events += reply.closing(generated, ticket.sequence.cached)
                break
            await response.write(events)
            events, output = b"", await ticket.outputs.get()
        else:
            events += b"data: " + _FAILED + b"\n\n" + DONE
        await response.write(events)
        await response.write_eof()
        return response


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")
