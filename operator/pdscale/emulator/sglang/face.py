"""The emulated engine as SGLang: rooms, its errors, its own paths, and the switch of its role."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from pdscale.emulator.blocks import BlockCache
from pdscale.emulator.driver import Driver
from pdscale.emulator.engine import NewTransfers
from pdscale.emulator.exposition import registry_of
from pdscale.emulator.face import Generate, Order, json_answer
from pdscale.emulator.modes import Mode
from pdscale.emulator.openai import Asked, Kind, read_body, read_request
from pdscale.emulator.refusals import Refused, bad
from pdscale.emulator.replies import DONE, Reply, Spelling
from pdscale.emulator.settings import Settings
from pdscale.emulator.sglang.bodies import NativeReply, read_native, room_of
from pdscale.emulator.sglang.bootstrap import BootstrapCourier
from pdscale.emulator.sglang.rooms import Rooms
from pdscale.emulator.sglang.series import SERIES
from pdscale.emulator.stats import EngineStats
from pdscale.emulator.transfers import Transfers

VERSION: Final = "0.5.23"
"""The SGLang whose protocol is spoken."""


class SglangFace:
    def __init__(self, settings: Settings) -> None:
        self.bootstrap_port = settings.sglang.bootstrap_port
        self._settings = settings
        self._rooms: Rooms | None = None
        self._courier: BootstrapCourier | None = None

    @property
    def transfers(self) -> NewTransfers | None:
        return self._connect if self._settings.sglang.mode is not None else None

    def _connect(self, cache: BlockCache, stats: EngineStats) -> Transfers:
        settings, own = self._settings, self._settings.sglang
        if own.mode is None:
            raise RuntimeError("an engine without a mode has no rooms")
        self._rooms = Rooms(
            own.mode,
            own.patience,
            decode_cache=own.decode_cache,
            profile=settings.profile,
            speed=settings.limits.speed,
            cache=cache,
            stats=stats,
        )
        return self._rooms

    async def open(self, driver: Driver) -> None:
        self._driver = driver
        if self._rooms is not None:
            driver.courier = self._courier = BootstrapCourier(driver, self._rooms)
            self.bootstrap_port = await self._courier.open(self._settings.host, self.bootstrap_port)

    async def close(self) -> None:
        if self._courier is not None:
            await self._courier.close()

    def read(self, kind: Kind, headers: Mapping[str, str], raw: bytes) -> Order:
        body, name, served = read_body(raw), secrets.token_hex(16), self._settings.served
        spelling: Spelling
        if kind is Kind.NATIVE:
            asked, called = read_native(body, name=name, served=served, headers=headers)
            spelling = NativeReply(called, len(asked.request.prompt), [])
        else:
            asked = read_request(body, kind=kind, name=name, served=served, headers=headers)
            spelling = Reply(
                asked,
                name,
                int(time.time()),
                served.prompt_tokens_details,
                hands_out=False,
                stop_field="matched_stop",
            )
        asked = self._into_room(asked, body, headers)
        return Order(asked.request, spelling, asked.stream)

    def _into_room(self, asked: Asked, body: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
        """A prefill instance makes one token, whatever was asked for. Completions read no headers."""
        if self._rooms is None:
            return asked
        reads_headers = self._settings.sglang.header_overrides and asked.kind is not Kind.COMPLETION
        mode = self._rooms.mode
        room = room_of(body, headers if reads_headers else {}, mode=mode, port=self.bootstrap_port)
        request = replace(asked.request, room=room)
        if mode is Mode.PREFILL:
            if self._rooms.hosting.is_taken(room.number):
                raise bad("bootstrap_room", f"bootstrap_room must be free, got {room.number} again")
            request = replace(request, max_tokens=1, min_tokens=0, stops=False, stop=())
        return replace(asked, request=request)

    def error(self, refused: Refused) -> bytes:
        return orjson.dumps({"object": "error", **refused.details})

    def error_event(self, refused: Refused) -> bytes:
        return b"data: " + orjson.dumps({"error": refused.details}) + b"\n\n" + DONE

    def registry(self, *, started: float) -> CollectorRegistry:
        labels = {
            "model_name": self._settings.served.models[0],
            "engine_type": self._engine_type(),
            "tp_rank": "0",
            "pp_rank": "0",
            "moe_ep_rank": "0",
        }
        return registry_of(self._driver.engine, SERIES, labels=labels, started=started)

    def _engine_type(self) -> str:
        own = self._settings.sglang
        if own.may_switch:
            return "dynamic"
        return "unified" if own.mode is None else str(own.mode)

    def routes(self, generate: Generate, inflight: Callable[[], int]) -> Iterable[web.RouteDef]:
        async def native(http: web.Request) -> web.StreamResponse:
            return await generate(http, Kind.NATIVE)

        async def healthy(_: web.Request) -> web.Response:
            return web.Response()

        return (
            web.post("/generate", native),
            web.get("/health_generate", healthy),
            web.get("/ready", healthy),
            web.get("/model_info", self._model_info),
            web.get("/get_model_info", self._model_info),
            web.get("/server_info", self._server_info),
            web.get("/get_server_info", self._server_info),
            web.post("/pd_role_switch", self._switch),
        )

    async def _model_info(self, _: web.Request) -> web.Response:
        names = self._settings.served.models
        return json_answer(
            200,
            orjson.dumps(
                {
                    "model_path": names[0],
                    "served_model_name": names[0],
                    "is_generation": True,
                    "disaggregation_mode": self._mode(),
                }
            ),
        )

    async def _server_info(self, _: web.Request) -> web.Response:
        limits, own = self._settings.limits, self._settings.sglang
        return json_answer(
            200,
            orjson.dumps(
                {
                    "model_path": self._settings.served.models[0],
                    "version": VERSION,
                    "disaggregation_mode": self._mode(),
                    "disaggregation_bootstrap_port": self.bootstrap_port,
                    "disaggregation_decode_enable_radix_cache": own.decode_cache,
                    "enable_pd_role_switch": own.may_switch,
                    "page_size": limits.block_size,
                    "max_total_num_tokens": limits.kv_tokens,
                    "max_running_requests": limits.max_sequences,
                    "context_length": limits.max_model_len,
                }
            ),
        )

    def _mode(self) -> str:
        return "null" if self._rooms is None else str(self._rooms.mode)

    async def _switch(self, http: web.Request) -> web.Response:
        """Only an idle instance changes its role; 400 says why not, and that it is as it was."""
        try:
            wanted = read_body(await http.read()).get("new_role")
        except Refused as refused:
            return json_answer(refused.status, self.error(refused))
        old, problem = self._mode(), self._obstacle(wanted)
        if problem is None and self._rooms is not None:
            self._rooms.mode = Mode(str(wanted))
        answer = {
            "success": problem is None,
            "message": problem or "ok",
            "old_role": old,
            "new_role": str(wanted),
            "safe_to_restore": problem is not None,
        }
        return json_answer(200 if problem is None else 400, orjson.dumps(answer))

    def _obstacle(self, wanted: object) -> str | None:
        if not self._settings.sglang.may_switch:
            return "the instance must run with --enable-pd-role-switch"
        if self._rooms is None:
            return "the instance must have a disaggregation mode"
        if wanted not in tuple(Mode):
            return f"new_role must be prefill or decode, got {wanted}"
        if wanted != self._rooms.mode and not self._driver.engine.idle:
            return "the instance must be idle"
        return None
