"""A vLLM engine with the NIXL pull connector, as far as a router can tell, and a strict judge of routers."""

import json
from typing import Any

from aiohttp import web

from fakes.contract import Request
from fakes.contract_vllm import Issue, KvWorld, Leg
from fakes.scripted import Fault, ScriptedEngine, Seen

__all__ = ["FakeEngine", "Fault", "Issue", "KvWorld", "Seen"]


class FakeEngine(ScriptedEngine):
    """``world`` judges each request by ``contract_vllm`` and keeps what was handed out."""

    def __init__(self, world: KvWorld, name: str, *, tokens: int = 5) -> None:
        super().__init__(name, tokens=tokens)
        self.world = world
        self._held: dict[str, int] = {}  # session -> tokens in the prefix cache

    def metrics(self) -> str:
        labels = '{engine="0",model_name="fake"}'
        return (
            f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{labels} 1.0\n"
            f"vllm:num_requests_waiting{labels} 2.0\nvllm:kv_cache_usage_perc{labels} 0.25\n"
        )

    async def answer(self, http: web.Request, asked: Request) -> web.StreamResponse:
        body = asked.body
        leg = self.world.judge(self.name, asked)
        self.seen.append(Seen(leg.kind, body, asked.headers))
        fault = self.faults.popleft() if self.faults else Fault.NONE
        early = await self.scripted(http, fault)
        if early is not None:
            return early
        usage = self._usage(asked.headers.get("X-Session-ID", ""), leg)
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        held = usage["prompt_tokens"] + (0 if leg.kind == "prefill" else usage["completion_tokens"])
        prompt = usage["prompt_tokens"]
        found = self.world.hand_out(leg, prompt=prompt, tokens=held, cached=cached)
        handed = None if fault is Fault.NO_PARAMS else found
        if body.get("stream"):
            count = body.get("max_tokens") or self.tokens
            return await self.stream(http, body, usage=usage, handed=handed, fault=fault, count=count)
        return self.whole(usage, kv_transfer_params=handed)

    def _usage(self, session: str, leg: Leg) -> dict[str, Any]:
        body, params = leg.body, leg.params or {}
        prompt = max(1, len(json.dumps(body.get("messages") or body.get("prompt"))) // 4)
        cached = self._held.get(session, 0)
        if leg.kind == "decode":
            cached = params.get("remote_prefill_cached_tokens", 0)
        elif leg.kind == "prefill":
            cached = max(cached, params.get("remote_num_tokens") or 0)
        output = body.get("max_tokens") or self.tokens
        self._held[session] = prompt + (0 if leg.kind == "prefill" else output)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": min(cached, prompt)},
        }
