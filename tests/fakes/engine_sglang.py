"""An SGLang instance of one role, as far as a router can tell, and a strict judge of routers.

A prefill leg is answered when its decode leg has come and has its KV. A leg whose other one failed is not
told and waits, as on the real engine; only a decode leg that is broken off fails its prefill leg.
"""

import asyncio
from typing import Any

from aiohttp import web

from fakes.contract import Request
from fakes.contract_sglang import BOOTSTRAP_PORT, Meeting, RoomWorld
from fakes.scripted import Fault, ScriptedEngine, Seen


class FakeSGLang(ScriptedEngine):
    """``role`` is ``prefill`` or ``decode``; by default the name tells, as ``p-0`` and ``d-0`` do.

    ``computing`` is how long a prefill takes.
    """

    def __init__(
        self, world: RoomWorld, name: str, *, role: str = "", tokens: int = 5, port: int = BOOTSTRAP_PORT
    ) -> None:
        super().__init__(name, tokens=tokens)
        self.world = world
        self.role = role or ("prefill" if name.startswith("p") else "decode")
        self.bootstrap_port = port
        self.computing = 0.0

    def metrics(self) -> str:
        labels = f'{{engine_type="{self.role}",model_name="fake",tp_rank="0"}}'
        return (
            f"sglang:num_running_reqs{labels} 1.0\nsglang:num_queue_reqs{labels} 2.0\n"
            f"sglang:token_usage{labels} 0.25\n"
        )

    async def answer(self, http: web.Request, asked: Request) -> web.StreamResponse:
        leg = self.world.judge(self.name, self.role, asked, port=self.bootstrap_port)
        self.seen.append(Seen(self.role if leg.meeting is not None else "plain", asked.body, asked.headers))
        if leg.meeting is None:
            return self.error(400)
        fault = self.faults.popleft() if self.faults else Fault.NONE
        try:
            early = await self.scripted(http, fault)
            if early is not None:
                return early
            async with asyncio.timeout(self.world.patience):
                await (self._prefill if self.role == "prefill" else self._decode)(leg.meeting)
        except TimeoutError:
            return self.error(500)
        except asyncio.CancelledError:
            if self.role == "decode":
                leg.meeting.decode_left.set()
            raise
        return await self._spell(http, asked.body, fault)

    async def _prefill(self, meeting: Meeting) -> None:
        await meeting.came["decode"].wait()
        try:
            async with asyncio.timeout(self.computing):
                await meeting.decode_left.wait()
        except TimeoutError:
            meeting.sent.set()
            return
        raise TimeoutError

    async def _decode(self, meeting: Meeting) -> None:
        await meeting.sent.wait()

    async def _spell(self, http: web.Request, body: dict[str, Any], fault: Fault) -> web.StreamResponse:
        count = 1 if self.role == "prefill" else body.get("max_tokens") or self.tokens
        usage = {
            "prompt_tokens": 7,
            "completion_tokens": count,
            "total_tokens": 7 + count,
            "prompt_tokens_details": {"cached_tokens": 3},
        }
        if body.get("stream"):
            return await self.stream(http, body, usage=usage, handed=None, fault=fault, count=count)
        return self.whole(usage)
