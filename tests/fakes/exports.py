"""What our programs really export: the pages of an operator, routers and emulated engines that have had work.

Alerts and dashboards are held against these, so that none names a series that nobody prints. Pages are told
apart by the labels that a scrape attaches: those of a pod in the namespace ``team`` that belongs to ``chat``,
or to ``qwen`` where engines speak SGLang's protocol.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import generate_latest

from fakes.fleet import Fleet, Reply, running_fleet
from pdscale.emulator.options import parse
from pdscale.emulator.server import EngineServer
from pdscale.model.plan import Reason
from pdscale.model.pools import Role, Targets
from pdscale.router.policies import PolicyName
from pdscale.telemetry import Metrics

NAMESPACE: Final = "team"
NAME: Final = "chat"
NAME_SGLANG: Final = "qwen"
_TRANSFER: Final = {
    "kv_connector": "NixlConnector",
    "kv_role": "kv_both",
    "kv_connector_extra_config": {"bidirectional_kv_xfer": True},
}


@dataclass(frozen=True, slots=True)
class Page:
    """One scrape: the pod that it is of, and its text."""

    pod: str
    text: str


def operator_page() -> Page:
    """An operator that leads and has one object, of which everything is known."""
    metrics = Metrics()
    metrics.leads(lambda: 5.0)
    metrics.ticks.labels("ok").inc()
    metrics.tick_seconds.observe(0.1)
    for reason in Reason:
        metrics.decisions.labels(reason).inc()
    for direction in ("up", "down"):
        for result in ("written", "refused"):
            metrics.scale_writes.labels("decode", direction, result).inc()
    sizes = Targets(1, 2)
    metrics.replicas(NAMESPACE, NAME, current=sizes, desired=sizes, ready=sizes)
    metrics.forecast(NAMESPACE, NAME, 3.5)
    known = {"gpus_held": 3, "gpu_budget": 8, "overdue_pods": 0, "attainment_target": 0.95}
    metrics.figures(NAMESPACE, NAME, {**known, "forecast_quantile": 0.9, "forecast_coverage": 0.92})
    metrics.conditions(NAMESPACE, NAME, {"Ready": True, "Draining": False})
    return Page("pdscale-5d8f7c-x2x4z", generate_latest(metrics.registry).decode())


async def data_plane() -> list[Page]:
    """Front, sidecar, gate and two emulated vLLM engines after some rounds of a session."""
    async with running_fleet(policy=PolicyName.CONSERVE, new_engine=_vllm) as fleet:
        await _talk(fleet, rounds=3)
        return [page async for page in _pages(fleet)]


async def sglang_engines() -> list[Page]:
    """Two engines' pages alone; they speak SGLang's protocol."""
    pages = []
    for role in Role:
        arguments = ["--protocol", "sglang", "--host", "127.0.0.1", "--port", "0", "--model", "fake"]
        arguments += ["--disaggregation-mode", role, "--disaggregation-bootstrap-port", "0"]
        async with EngineServer(parse(arguments, {})[0]) as engine:
            pages.append(Page(f"{NAME_SGLANG}-{role}-7f9c-s1", generate_latest(engine._registry).decode()))
    return pages


async def _talk(fleet: Fleet, *, rounds: int) -> None:
    messages: list[dict[str, str]] = []
    for i in range(rounds):
        messages.append({"role": "user", "content": f"round {i} " + "some more words " * 60})
        reply = await fleet.chat(messages, stream=True, headers={"X-Session-ID": "s"})
        assert reply.status == 200, reply.text
        messages.append({"role": "assistant", "content": _answer(reply)})


def _answer(reply: Reply) -> str:
    return "".join(e["choices"][0]["delta"].get("content") or "" for e in reply.events if e != "[DONE]")


async def _pages(fleet: Fleet) -> AsyncIterator[Page]:
    yield Page(f"{NAME}-router-6b7d-k9k9k", await _get(fleet, fleet.front.admin_port))
    for name, role in fleet.roles.items():
        pod = f"{NAME}-{role}-7f9c-{name.replace('-', '')}"
        yield Page(pod, await _get(fleet, fleet.sidecars[name].admin_port))
        yield Page(pod, await _get(fleet, fleet.engines[name].port))


async def _get(fleet: Fleet, port: int) -> str:
    async with fleet.client.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()


def _vllm(_: Any, name: str) -> EngineServer:
    arguments = ["--host", "127.0.0.1", "--port", "0", "--side-channel-port", "0"]
    arguments += ["--side-channel-host", "127.0.0.1", "--speed", "50", "--model", "fake"]
    arguments += ["--enable-prompt-tokens-details", "--kv-transfer-config", json.dumps(_TRANSFER)]
    return EngineServer(parse(arguments, {})[0])
