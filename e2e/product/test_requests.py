"""Requests through front router, sidecars and emulated engines that run as processes on the nodes."""

import asyncio
import random
from collections.abc import Iterator

import httpx
import pytest
from kubernetes import client

from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.replay.run import Replay
from pdscale_e2e.replay.trace import Request

pytestmark = [pytest.mark.cluster, pytest.mark.running_pods, pytest.mark.workers]
PROCESS = on_nodes("process")


def deployed(objects: Objects, name: str, **changes: object) -> str:
    """Create an object of real processes; the address of its Service."""
    scaling = {"mode": "Paused"}
    objects.create(serving(name, prefill=PROCESS, decode=PROCESS, scaling=scaling, **changes))
    objects.wait(name, kind="Ready", status="True", within=90)
    return objects.answers(name, within=30)


def rounds(url: str, session: str, count: int) -> Iterator[tuple[str, dict[str, int]]]:
    """A conversation: every answer is sent back with the next question."""
    messages: list[dict[str, str]] = []
    chance = random.Random(session)
    for _ in range(count):
        question = " ".join(chance.choices(["how", "many", "tokens", "per", "second"], k=200))
        messages.append({"role": "user", "content": question})
        answer = httpx.post(
            f"{url}/v1/chat/completions",
            json={"model": "meta-llama/Llama-2-70b-chat-hf", "messages": messages, "max_tokens": 12},
            headers={"X-Session-ID": session},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert "kv_transfer_params" not in answer.text
        messages.append({"role": "assistant", "content": found["choices"][0]["message"]["content"]})
        yield messages[-1]["content"], found["usage"]


def placements(objects: Objects, name: str) -> dict[str, float]:
    """Rounds by placement, summed over the decode pods' sidecars."""
    counts = {"local": 0.0, "remote": 0.0}
    for pod in objects.pods(name, "decode"):
        text = httpx.get(f"http://{pod.status.pod_ip}:9090/metrics", timeout=5).text
        for line in text.splitlines():
            if line.startswith("pdscale_router_placements_total{"):
                for kind in counts:
                    counts[kind] += float(line.rsplit(" ", 1)[1]) if f'placement="{kind}"' in line else 0
    return counts


def test_every_placement_gives_the_same_conversation_and_history_is_reused(objects: Objects) -> None:
    conversations = {}
    for placement in ("AlwaysLocal", "AlwaysRemote"):
        name = placement.lower()
        url = deployed(objects, name, router={"placement": placement})
        answers = list(rounds(url, "one-session", 4))
        conversations[placement] = [text for text, _ in answers]
        cached = [usage["prompt_tokens_details"]["cached_tokens"] for _, usage in answers]  # type: ignore[index]
        assert cached[0] < 16
        assert all(c > 150 for c in cached[1:])
        chosen = "local" if placement == "AlwaysLocal" else "remote"
        assert placements(objects, name) == {"local": 0.0, "remote": 0.0} | {chosen: 4.0}
        objects.delete(name)
    assert conversations["AlwaysLocal"] == conversations["AlwaysRemote"]


def test_no_request_fails_while_both_pools_are_resized_under_load(objects: Objects) -> None:
    url = deployed(objects, "busy", gpuBudget=8)
    replay = Replay(url=url, model="meta-llama/Llama-2-70b-chat-hf", seed=5)
    requests = [Request(at=i * 0.25, input_tokens=400, output_tokens=30) for i in range(120)]

    async def resized() -> None:
        for prefill, decode in ((2, 3), (1, 1)):
            await asyncio.sleep(8)  # traffic must flow before and after each change
            patch = {"spec": {"replicas": prefill}}, {"spec": {"replicas": decode}}
            apps = client.AppsV1Api(objects.api)
            for role, body in zip(("prefill", "decode"), patch, strict=True):
                await asyncio.to_thread(
                    apps.patch_namespaced_deployment_scale, f"busy-{role}", objects.namespace, body
                )

    async def play() -> None:
        await asyncio.gather(replay.run(requests), resized())

    asyncio.run(play())
    assert [o.error for o in replay.failed] == []
    assert len(replay.outcomes) == 120
