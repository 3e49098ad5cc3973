"""SGLang's protocol through the product: both legs of a round at once, on emulated engines."""

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from kubernetes import client

from pdscale_e2e.cluster import Cluster
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.replay.run import Replay
from pdscale_e2e.replay.trace import Request

pytestmark = [pytest.mark.cluster, pytest.mark.running_pods, pytest.mark.workers, pytest.mark.together]
PROCESS = on_nodes("process")
MODEL = "meta-llama/Llama-2-70b-chat-hf"
EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "emulated-sglang.yaml"


@pytest.fixture(scope="module")
def rooms(
    product: client.ApiClient, prometheus: Any, shared_namespace: str, cluster: Cluster
) -> tuple[Objects, str]:
    """The example's engines, under a policy that would prefill locally; and the address of their Service."""
    objects, name = Objects(product, shared_namespace, prometheus.url), "rooms"
    engine = yaml.safe_load(EXAMPLE.read_text())["spec"]["engine"]
    engine |= {"image": cluster.image("router")}  # which has the emulated engine, and which workers have
    router = {"placement": "Threshold", "thresholdTokens": 100_000}
    scaling = {"mode": "Paused"}
    objects.create(
        serving(name, engine=engine, router=router, scaling=scaling, prefill=PROCESS, decode=PROCESS)
    )
    objects.wait(name, kind="Ready", status="True", within=120)
    return objects, objects.answers(name, within=30)


def ask(url: str, messages: list[dict[str, str]], *, stream: bool) -> httpx.Response:
    body = {"model": MODEL, "messages": messages, "max_tokens": 12, "stream": stream}
    headers = {"X-Session-ID": "one-session"}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=30)


def placements(objects: Objects, name: str) -> dict[str, float]:
    """Rounds by placement and reason, summed over the decode pods' sidecars."""
    counts: dict[str, float] = {}
    for pod in objects.pods(name, "decode"):
        text = httpx.get(f"http://{pod.status.pod_ip}:9090/metrics", timeout=5).text
        for line in text.splitlines():
            if line.startswith("pdscale_router_placements_total{"):
                labels, _, count = line.partition("{")[2].rpartition("} ")
                counts[labels] = counts.get(labels, 0.0) + float(count)
    return counts


def test_rounds_are_prefilled_remotely_whatever_the_policy_says(rooms: tuple[Objects, str]) -> None:
    objects, url = rooms
    messages: list[dict[str, str]] = []
    cached: list[Any] = []
    for i in range(4):
        messages.append({"role": "user", "content": f"question {i}: " + "how many tokens per second " * 40})
        streamed = ask(url, messages, stream=True)
        assert (streamed.status_code, "data: [DONE]" in streamed.text) == (200, True)
        whole = ask(url, messages, stream=False)
        assert whole.status_code == 200
        assert "bootstrap" not in streamed.text + whole.text
        messages.append({"role": "assistant", "content": whole.json()["choices"][0]["message"]["content"]})
        cached.append(whole.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached == sorted(cached)
    assert cached[-1] > 600
    assert placements(objects, "rooms") == {
        'place="sidecar",placement="remote",reason="EngineAlwaysRemote"': 8.0
    }


def test_no_request_fails_while_the_prefill_pool_is_resized_under_load(rooms: tuple[Objects, str]) -> None:
    objects, url = rooms
    replay = Replay(url=url, model=MODEL, seed=5)
    requests = [Request(at=i * 0.3, input_tokens=300, output_tokens=20) for i in range(80)]

    async def resize() -> None:
        apps = client.AppsV1Api(objects.api)
        for replicas in (2, 1):
            await asyncio.sleep(8)  # traffic must flow before and after each change
            body = {"spec": {"replicas": replicas}}
            await asyncio.to_thread(
                apps.patch_namespaced_deployment_scale, "rooms-prefill", objects.namespace, body
            )

    async def play() -> None:
        await asyncio.gather(replay.run(requests), resize())

    asyncio.run(play())
    assert [o.error for o in replay.failed] == []
    assert len(replay.outcomes) == len(requests)
