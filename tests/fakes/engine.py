"""A vLLM engine with the NIXL pull connector, as far as a router can tell, and a strict judge of routers.

Each rule that a real engine punishes late (wrong KV, pinned blocks, a dead process) is noted here at once in
``KvWorld.violations``, which tests assert to be empty. Faults are scripted: one entry per generation request.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from aiohttp import web

BLANK_KEYS = {
    "do_remote_decode",
    "do_remote_prefill",
    "remote_engine_id",
    "remote_block_ids",
    "remote_host",
    "remote_port",
}
FLAG_KEYS = {"do_remote_decode", "do_remote_prefill"}
BANNED_FIELDS = ("ec_transfer_params", "bootstrap_host", "bootstrap_port", "bootstrap_room")
BANNED_HEADERS = ("x-prefiller-host-port", "x-data-parallel-rank", "x-override-rid")


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


@dataclass
class Issue:
    """Transfer parameters that an engine handed out."""

    engine: str
    by_prefill: bool
    deadline: float
    used: bool = False


@dataclass
class KvWorld:
    """What all engines of a test know together."""

    lease: float = 30.0
    ttl: float = 480.0
    issued: dict[str, Issue] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def check(self, *, ok: bool, rule: str) -> None:
        if not ok:
            self.violations.append(rule)


@dataclass(frozen=True)
class Seen:
    kind: str  # prefill, decode, local, plain
    body: dict[str, Any]
    headers: Mapping[str, str]


class FakeEngine:
    def __init__(self, world: KvWorld, name: str, *, tokens: int = 5) -> None:
        self.world, self.name, self.tokens = world, name, tokens
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.aborted = 0
        self.reached = asyncio.Event()  # a stall has been reached
        self.gap = 0.0
        self.healthy = True
        self.url = ""
        self._held: dict[str, int] = {}  # session -> tokens in the prefix cache
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "FakeEngine":
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

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "fake"}]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        labels = '{engine="0",model_name="fake"}'
        return web.Response(
            text=f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{labels} 1.0\n"
            f"vllm:num_requests_waiting{labels} 2.0\nvllm:kv_cache_usage_perc{labels} 0.25\n"
        )

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            raise

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        kind, params = self._judge(body, request.headers)
        self.seen.append(Seen(kind, body, request.headers))
        fault = self.faults.popleft() if self.faults else Fault.NONE
        if fault is Fault.STALL:
            self.reached.set()
            await asyncio.sleep(3600)
        if fault is Fault.DIE:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        statuses = {
            Fault.ERROR_500: 500,
            Fault.BUSY_503: 503,
            Fault.BUSY_429: 429,
            Fault.REJECT_400: 400,
        }
        if fault in statuses:
            error = {"message": f"scripted {self.name}", "type": "Fake", "param": None}
            return web.json_response({"error": error}, status=statuses[fault])
        session = request.headers.get("X-Session-ID", "")
        usage = self._usage(session, body, kind, params)
        handed = None if fault is Fault.NO_PARAMS else self._hand_out(kind, usage)
        if body.get("stream"):
            return await self._stream(request, body, usage, handed, fault)
        reply = {
            "id": "x",
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"content": "word"}, "finish_reason": "length"}],
            "usage": usage,
            "kv_transfer_params": handed,
        }
        return web.json_response(reply)

    async def _stream(
        self,
        request: web.Request,
        body: dict[str, Any],
        usage: dict[str, Any],
        handed: dict[str, Any] | None,
        fault: Fault,
    ) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await answer.prepare(request)

        async def event(thing: object) -> None:
            text = thing if isinstance(thing, str) else json.dumps(thing)
            await answer.write(f"data: {text}\n\n".encode())

        if fault is Fault.ERROR_EVENT_FIRST:
            await event({"error": {"message": "KV load failed", "code": 500}})
            return answer
        count = body.get("max_tokens") or self.tokens
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
                assert request.transport is not None
                request.transport.abort()
                return answer
            await asyncio.sleep(self.gap)
        if (body.get("stream_options") or {}).get("include_usage"):
            await event({"id": "x", "choices": [], "usage": usage})
        await event("[DONE]")
        return answer

    def _usage(
        self, session: str, body: dict[str, Any], kind: str, params: dict[str, Any] | None
    ) -> dict[str, Any]:
        prompt = max(1, len(json.dumps(body.get("messages") or body.get("prompt"))) // 4)
        cached = self._held.get(session, 0)
        if kind == "decode" and params is not None:
            cached = params.get("remote_prefill_cached_tokens", 0)
        elif kind == "prefill" and params is not None:
            cached = max(cached, params.get("remote_num_tokens") or 0)
        output = body.get("max_tokens") or self.tokens
        self._held[session] = prompt + (0 if kind == "prefill" else output)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": min(cached, prompt)},
        }

    def _judge(self, body: dict[str, Any], headers: Mapping[str, str]) -> tuple[str, dict[str, Any] | None]:
        """Name the request, and note every rule it breaks."""
        check = self.world.check
        for name in BANNED_FIELDS:
            check(ok=name not in body, rule=f"client's {name} reached an engine")
        for name in BANNED_HEADERS:
            check(ok=name not in headers, rule=f"client's header {name} reached an engine")
        params = body.get("kv_transfer_params")
        if params is None:
            return "plain", None
        decode, prefill = params.get("do_remote_decode"), params.get("do_remote_prefill")
        check(ok=bool(decode) != bool(prefill), rule=f"flags {decode}/{prefill} pin or kill")
        if prefill:
            ids = params.get("remote_block_ids")
            check(ok=ids is not None, rule="do_remote_prefill without block ids kills the engine")
            self._use(params, by_prefill=True)
            return "decode", params
        if set(params) == FLAG_KEYS:
            return "local", params
        check(ok=body.get("stream") is False, rule="a prefill leg must not stream")
        check(ok=body.get("max_tokens") == 1, rule="a prefill leg asks for one token")
        check(ok=body.get("max_completion_tokens") in (None, 1), rule="max_completion_tokens")
        for name in ("stream_options", "min_tokens", "min_completion_tokens"):
            check(ok=name not in body, rule=f"a prefill leg has no {name}")
        check(ok=headers.get("x-pdscale-leg") == "prefill", rule="a prefill leg is marked")
        if params.get("remote_block_ids") is None:
            check(ok=set(params) == BLANK_KEYS, rule=f"blank params must be six: {sorted(params)}")
        else:
            self._use(params, by_prefill=None)
        return "prefill", params

    def _use(self, params: dict[str, Any], *, by_prefill: bool | None) -> None:
        issue = self.world.issued.get(params.get("remote_request_id", ""))
        if issue is None:
            self.world.violations.append("params that no engine handed out")
            return
        self.world.check(ok=not issue.used, rule="params used twice")
        self.world.check(ok=time.time() < issue.deadline, rule="params used after their deadline")
        self.world.check(ok=issue.engine != self.name, rule="an engine's own params came back to it")
        if by_prefill is not None:
            self.world.check(ok=issue.by_prefill is by_prefill, rule="params of the wrong side")
        issue.used = True

    def _hand_out(self, kind: str, usage: dict[str, Any]) -> dict[str, Any] | None:
        """What the engine says at the end of a request, as the connector would."""
        if kind == "plain":
            return None
        from_decode = kind == "decode"
        life = self.world.ttl if from_decode else self.world.lease
        deadline = time.time() + life
        number = f"req-{len(self.world.issued)}"
        self.world.issued[number] = Issue(self.name, kind == "prefill", deadline)
        held = usage["prompt_tokens"] + (0 if kind == "prefill" else usage["completion_tokens"])
        return {
            "do_remote_prefill": not from_decode,
            "do_remote_decode": from_decode,
            "remote_block_ids": [[1, 2, 3]],
            "remote_engine_id": self.name,
            "remote_request_id": number,
            "remote_host": "127.0.0.1",
            "remote_port": 5600,
            "tp_size": 1,
            "remote_num_tokens": held,
            "remote_blocks_expiry_time": deadline if from_decode else None,
            "transfer_mode": "pull",
            "remote_prefill_cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
        }
