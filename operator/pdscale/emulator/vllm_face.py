"""The emulated engine as vLLM: its transfer parameters, errors and paths."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from pdscale.emulator.blocks import BlockCache
from pdscale.emulator.connector import Connector
from pdscale.emulator.driver import Driver
from pdscale.emulator.engine import NewTransfers
from pdscale.emulator.exposition import registry_of
from pdscale.emulator.face import Generate, Order, json_answer
from pdscale.emulator.nixl_courier import NixlCourier
from pdscale.emulator.openai import Kind, prompt_of, read_body, read_request
from pdscale.emulator.refusals import Refused, malformed
from pdscale.emulator.replies import DONE, Reply
from pdscale.emulator.settings import VERSION, Settings
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.transfer import BadTransferParams, Origin, TransferParams, parse_params
from pdscale.emulator.transfers import Transfers
from pdscale.emulator.vllm_series import SERIES

_PREFIX: Final = {Kind.CHAT: "chatcmpl-", Kind.COMPLETION: "cmpl-"}


class VllmFace:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._origin = Origin(secrets.token_hex(16), settings.side_channel_host, 0)
        self._connector: Connector | None = None
        self._courier: NixlCourier | None = None

    @property
    def transfers(self) -> NewTransfers | None:
        return self._connect if self._settings.transfer is not None else None

    def _connect(self, cache: BlockCache, stats: EngineStats) -> Transfers:
        settings = self._settings
        if settings.transfer is None:
            raise RuntimeError("an engine without a connector has no transfers")
        self._connector = Connector(
            settings.transfer,
            self._origin,
            profile=settings.profile,
            speed=settings.limits.speed,
            cache=cache,
            stats=stats,
        )
        return self._connector

    async def open(self, driver: Driver) -> None:
        self._engine = driver.engine
        if self._connector is not None:
            courier = NixlCourier(driver, self._connector)
            await courier.open(self._settings.side_channel_host, self._settings.side_channel_port)
            driver.courier = self._courier = courier

    async def close(self) -> None:
        if self._courier is not None:
            await self._courier.close()

    def read(self, kind: Kind, headers: Mapping[str, str], raw: bytes) -> Order:
        """A refused decode leg frees its prefill leg's blocks at once."""
        body, served = read_body(raw), self._settings.served
        params = _params(body)
        name = _PREFIX[kind] + (headers.get("X-Request-Id") or secrets.token_hex(16))
        unique = f"{name}-{secrets.token_hex(4)}"  # the name on this engine must be
        try:
            asked = read_request(body, kind=kind, name=unique, served=served, headers=headers)
        except Refused:
            if self._courier is not None:
                self._courier.give_up(params)
            raise
        asked = replace(asked, request=replace(asked.request, params=params))
        reply = Reply(asked, name, int(time.time()), served.prompt_tokens_details)
        return Order(asked.request, reply, asked.stream)

    def error(self, refused: Refused) -> bytes:
        return orjson.dumps({"error": refused.details})

    def error_event(self, refused: Refused) -> bytes:
        return b"data: " + self.error(refused) + b"\n\n" + DONE

    def registry(self, *, started: float) -> CollectorRegistry:
        labels = {"model_name": self._settings.served.models[0], "engine": "0"}
        return registry_of(self._engine, SERIES, labels=labels, started=started)

    def routes(self, generate: Generate, inflight: Callable[[], int]) -> Iterable[web.RouteDef]:
        async def version(_: web.Request) -> web.Response:
            return json_answer(200, orjson.dumps({"version": VERSION}))

        async def load(_: web.Request) -> web.Response:
            return json_answer(200, orjson.dumps({"server_load": inflight()}))

        return (
            web.get("/version", version),
            web.get("/load", load),
            web.post("/tokenize", self._tokenize),
        )

    async def _tokenize(self, http: web.Request) -> web.Response:
        try:
            body = read_body(await http.read())
            tokens = prompt_of(body, Kind.CHAT if "messages" in body else Kind.COMPLETION)
        except Refused as refused:
            return json_answer(refused.status, self.error(refused))
        longest = self._settings.served.max_model_len
        answer = {"count": len(tokens), "max_model_len": longest, "tokens": tokens, "token_strs": None}
        return json_answer(200, orjson.dumps(answer))


def _params(body: Mapping[str, object]) -> TransferParams | None:
    try:
        return parse_params(body.get("kv_transfer_params"))
    except BadTransferParams as error:
        raise malformed("kv_transfer_params", str(error)) from error
