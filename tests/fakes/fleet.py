"""A whole data plane on loopback: fake engines, real sidecars and a real front, found through a fake API."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import aiohttp

from fakes.engine import FakeEngine, KvWorld
from fakes.pods_api import FakePodsApi, pod
from pdscale.model.pools import Role
from pdscale.perf.builtin import BUILTIN
from pdscale.router.app import Router
from pdscale.router.fleet.discovery import ApiAccess
from pdscale.router.meters import Place
from pdscale.router.policies import PolicyName
from pdscale.router.settings import Settings


async def eventually(holds: Callable[[], bool], *, within: float = 5.0, what: str = "") -> None:
    """Poll until something holds; fail when it does not in time."""
    deadline = asyncio.get_running_loop().time() + within
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"never became true: {what}"
        await asyncio.sleep(0.01)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def events(self) -> list[Any]:
        parts = [p.removeprefix("data: ") for p in self.text.split("\n\n") if p]
        return [p if p == "[DONE]" else json.loads(p) for p in parts]

    @property
    def content(self) -> str:
        """What the engine said, streamed or whole."""
        if not self.text.startswith("data:"):
            return str(self.json["choices"][0]["message"]["content"])
        choices = [choice for e in self.events if e != "[DONE]" for choice in e["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


async def converse(
    chat: Callable[..., Awaitable[Reply]], *, rounds: int, name: str = "one", words: str = "", **more: Any
) -> list[dict[str, str]]:
    """A conversation that grows by a question and its answer each round; all that was said."""
    messages: list[dict[str, str]] = []
    for i in range(rounds):
        messages.append({"role": "user", "content": f"{name} {i} {words}"})
        reply = await chat(messages, **more)
        assert reply.status == 200, reply.text
        messages.append({"role": "assistant", "content": reply.content})
    return messages


@dataclass
class Fleet:
    world: KvWorld
    api: FakePodsApi
    client: aiohttp.ClientSession
    engines: dict[str, FakeEngine] = field(default_factory=dict)
    sidecars: dict[str, Router] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)
    of_fronts: Mapping[str, Any] = field(default_factory=dict)
    front: Router = None  # type: ignore[assignment]

    @asynccontextmanager
    async def another_front(self) -> AsyncIterator[Router]:
        """One more front router, ready."""
        front = Router(Settings(Place.FRONT, **self.common, **self.of_fronts))
        await front.start()
        try:
            await eventually(lambda: knows_all(front, self), what="discovery")
            yield front
        finally:
            await front.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.front.port}"

    def pod(self, name: str, **changes: Any) -> dict[str, Any]:
        router = self.sidecars[name]
        changes = {"role": self.roles[name], **changes}
        return pod(name, http_port=router.port, admin_port=router.admin_port, **changes)

    async def chat(self, text: str | list[dict[str, str]] = "hello", *, url: str = "", **more: Any) -> Reply:
        """One round through the front, or through ``url``."""
        headers = more.pop("headers", {})
        messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
        body = {"model": "fake", "messages": messages, "max_tokens": 5, **more}
        async with self.client.post(
            f"{url or self.url}/v1/chat/completions", json=body, headers=headers
        ) as answer:
            raw = (await answer.read()).decode()
            return Reply(answer.status, dict(answer.headers), raw)

    async def metric(self, router: Router, series: str) -> float:
        """A sample's value; 0 when the series does not exist (yet)."""
        async with self.client.get(f"http://127.0.0.1:{router.admin_port}/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith(f"pdscale_router_{series} "):
                    return float(line.rsplit(" ", 1)[1])
        return 0.0

    async def placements(self, name: str, placement: str, reason: str) -> float:
        labels = f'{{place="sidecar",placement="{placement}",reason="{reason}"}}'
        return await self.metric(self.sidecars[name], f"placements_total{labels}")


@asynccontextmanager
async def running_fleet(
    *,
    prefill: int = 1,
    decode: int = 1,
    policy: PolicyName = PolicyName.ALWAYS_REMOTE,
    world: KvWorld | None = None,
    new_engine: Callable[[KvWorld, str], Any] = FakeEngine,
    of_fronts: Mapping[str, Any] = MappingProxyType({}),
    **settings: Any,
) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(FakePodsApi())
        client = await stack.enter_async_context(aiohttp.ClientSession())
        fleet = Fleet(world or KvWorld(), api, client, of_fronts=of_fronts)
        fleet.roles = {f"p-{i}": "prefill" for i in range(prefill)}
        fleet.roles |= {f"d-{i}": "decode" for i in range(decode)}
        common: dict[str, Any] = {
            "deployment": "chat",
            "port": 0,
            "admin_port": 0,
            "api": ApiAccess(api.url),
            "drain_quiet": 0.05,
            "profile": BUILTIN["llama-3.1-8b-h100"],
            "placement": policy,
            **settings,
        }
        for name in fleet.roles:
            engine = await stack.enter_async_context(new_engine(fleet.world, name))
            fleet.engines[name] = engine
            router = Router(
                Settings(Place.SIDECAR, pod_name=name, engine_url=f"http://127.0.0.1:{engine.port}", **common)
            )
            await router.start()
            stack.push_async_callback(router.stop)
            fleet.sidecars[name] = router
        for name in fleet.roles:
            await api.apply(fleet.pod(name))
        fleet.common = common
        fleet.front = await stack.enter_async_context(fleet.another_front())
        for router in fleet.sidecars.values():
            await eventually(lambda r=router: knows_all(r, fleet), what="discovery")  # type: ignore[misc]
        yield fleet


def knows_all(router: Router, fleet: Fleet) -> bool:
    view = router.roster.view(asyncio.get_running_loop().time())
    ready = {e.name for role in Role for e in view.of(role) if e.takes_new_work}
    return ready == set(fleet.roles) and router.knows_sessions
