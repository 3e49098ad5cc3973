"""The operator's pods with real engines in them: resized under load, roles exchanged between running pods.

Comes last: the engines of the other tests end first, for there is memory for three.
"""

import asyncio
import math
import random
import time
from collections.abc import Iterator
from typing import Any, Final

import aiohttp
import httpx
import pytest
from kubernetes import client as k8s

from pdscale_e2e.engines.command import SERVED, Vllm
from pdscale_e2e.engines.figures import figures
from pdscale_e2e.engines.processes import RealEngine
from pdscale_e2e.engines.stage import real_deployment
from pdscale_e2e.engines.talk import CHAT, TEXT, Client, Conversation
from pdscale_e2e.objects import Objects
from pdscale_e2e.waiting import eventually

NAME: Final = "real"
ROLE: Final = "pdscale.io/role"
HASH: Final = "pod-template-hash"
STARTS: Final = 420


@pytest.fixture(scope="module")
def deployed(vllm: Vllm, started: list[RealEngine]) -> Iterator[tuple[Objects, str]]:
    """One prefill and one decode replica of real engines, and the address of their Service."""
    for engine in started:
        engine.stop()
    router = {"placement": "AlwaysRemote", "drainTimeout": "30s"}
    with real_deployment(vllm, NAME, scaling={"mode": "Paused"}, router=router) as found:
        yield found.objects, found.url


def scale(objects: Objects, role: str, replicas: int) -> None:
    apps: Any = k8s.AppsV1Api(objects.api)
    apps.patch_namespaced_deployment_scale(
        f"{NAME}-{role}", objects.namespace, {"spec": {"replicas": replicas}}
    )


def ready_pods(objects: Objects, role: str) -> list[Any]:
    def ready(pod: Any) -> bool:
        conditions = pod.status.conditions or ()
        return any(c.type == "Ready" and c.status == "True" for c in conditions)

    return [p for p in objects.pods(NAME, role) if not p.metadata.deletion_timestamp and ready(p)]


async def settle(objects: Objects, role: str, replicas: int) -> None:
    """So many pods are ready, and there are no others."""

    def there() -> bool:
        return len(ready_pods(objects, role)) == len(objects.pods(NAME, role)) == replicas

    await asyncio.to_thread(
        eventually, there, within=STARTS, what=f"there are {replicas} {role} pods", every=0.5
    )


class Load:
    """Sessions one after another until told to stop; what fails is kept."""

    def __init__(self, url: str) -> None:
        self.url, self.ended, self.going = url, 0, True
        self.failed: list[str] = []

    async def run(self, sessions: int) -> None:
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(self._talk(Client(http), n) for n in range(sessions)))

    async def more(self, rounds: int) -> None:
        """Wait until so many more have ended."""
        wanted = self.ended + rounds
        await asyncio.to_thread(
            eventually, lambda: self.ended >= wanted, within=120, what=f"{rounds} more rounds have ended"
        )

    async def _talk(self, client: Client, number: int) -> None:
        count = 0
        while self.going:
            count += 1
            form = (TEXT, CHAT)[count % 2]
            name = f"load-{number}-{count}"
            conversation = Conversation(name, form, number % 2 == 0, random.Random(name), 16)
            for _ in range(4):
                body = conversation.next_body(many=15)
                answer = await client.ask(self.url, form, body, session=conversation.name)
                self.ended += 1
                if not answer.ended_well:
                    self.failed.append(f"{name}: {answer.status} {answer.text[-300:]}")
                    break
                conversation.heard(answer)
                await asyncio.sleep(conversation.chance.uniform(0.1, 0.6))  # a person reads


async def test_no_request_fails_while_decode_replicas_come_and_go(deployed: tuple[Objects, str]) -> None:
    objects, url = deployed
    load = Load(url)
    running = asyncio.ensure_future(load.run(2))
    for replicas in (2, 1):
        await asyncio.to_thread(scale, objects, "decode", replicas)
        await settle(objects, "decode", replicas)
        await load.more(10)
    load.going = False
    await running
    assert load.failed == []
    assert [c.restart_count for p in objects.pods(NAME) for c in p.status.container_statuses] == [0] * 3


def template_hash(objects: Objects, role: str) -> str:
    """Of the ReplicaSet that the role's Deployment has now."""
    apps: Any = k8s.AppsV1Api(objects.api)
    selector = f"pdscale.io/deployment={NAME},{ROLE}={role}"
    (found,) = apps.list_namespaced_replica_set(objects.namespace, label_selector=selector).items
    return str(found.metadata.labels[HASH])


def give(objects: Objects, pod: Any, *, to: str, counts: dict[str, int]) -> None:
    """Room in the receiving pool, the pod's labels, then the giving pool's count."""
    (giving,) = set(counts) - {to}
    scale(objects, to, counts[to])
    core: Any = k8s.CoreV1Api(objects.api)
    labels = {ROLE: to, HASH: template_hash(objects, to)}
    core.patch_namespaced_pod(pod.metadata.name, objects.namespace, {"metadata": {"labels": labels}})
    scale(objects, giving, counts[giving])


async def serves(url: str, *, status: int) -> float:
    """Seconds until the sidecar there answers a round with this status."""
    began = time.monotonic()
    body = {"model": SERVED, "prompt": list(range(60)), "max_tokens": 1}

    def answered() -> bool:
        return httpx.post(f"{url}{TEXT}", json=body, timeout=20).status_code == status

    await asyncio.to_thread(
        eventually, answered, within=20, what=f"{url} answers a round with {status}", every=0.05
    )
    return time.monotonic() - began


async def flip_there_and_back(objects: Objects, pod: Any) -> float:
    """Seconds of the slower way until the sidecar serves in its new role."""
    sidecar = f"http://{pod.status.pod_ip}:8080"
    await serves(sidecar, status=503)
    give(objects, pod, to="decode", counts={"decode": 2, "prefill": 0})
    to_decode = await serves(sidecar, status=200)
    await settle(objects, "decode", 2)
    await settle(objects, "prefill", 0)
    give(objects, pod, to="prefill", counts={"decode": 1, "prefill": 1})
    to_prefill = await serves(sidecar, status=503)
    await settle(objects, "decode", 1)
    await settle(objects, "prefill", 1)
    print(f"decode after {to_decode:.2f}s, prefill again after {to_prefill:.2f}s")
    return max(to_decode, to_prefill)


async def test_a_running_prefill_engine_becomes_a_decode_engine_and_again_a_prefill_engine(
    deployed: tuple[Objects, str],
) -> None:
    objects, url = deployed
    (pod,) = ready_pods(objects, "prefill")
    # What else runs on the machine can only add time: the best of three says what a flip takes.
    took = math.inf
    for _ in range(3):
        took = await flip_there_and_back(objects, pod)
        if took < 2.0:
            break
    assert took < 2.0
    (same,) = ready_pods(objects, "prefill")
    assert same.metadata.uid == pod.metadata.uid
    assert [c.restart_count for c in same.status.container_statuses] == [0]
    engine = f"http://{pod.status.pod_ip}:8000"
    before = figures(engine).total("vllm:prompt_tokens_total")
    async with aiohttp.ClientSession() as http:
        body = {"prompt": list(range(90)) * 3, "max_tokens": 4}
        answer = await Client(http).ask(url, TEXT, body, session="after")
    assert answer.ended_well, answer.text
    assert figures(engine).total("vllm:prompt_tokens_total") - before == 270
