"""Real traffic, full workers, a GPU that fails, a node that goes away and comes back."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from kubernetes import client

from pdscale_e2e.cluster.kind import KindCluster
from pdscale_e2e.nodes.spec import GPU
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.replay.run import Replay
from pdscale_e2e.replay.trace import Request
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.containers, pytest.mark.workers]
PROCESS = on_nodes("process")
MODEL = "meta-llama/Llama-2-70b-chat-hf"


@pytest.mark.long
def test_both_pools_follow_real_traffic_and_no_request_fails(objects: Objects) -> None:
    objects.create(
        serving(
            "live",
            prefill={**PROCESS, "maxReplicas": 3},
            decode={**PROCESS, "maxReplicas": 3},
            forecast={"history": "2m", "step": "2s"},
            scaling={"interval": "2s", "scaleDownWindow": "10s"},
            router={"drainTimeout": "60s"},
        )
    )
    objects.wait("live", kind="Ready", status="True", within=120)
    url = objects.answers("live", within=60)
    replay = Replay(url=url, model=MODEL, seed=3)
    # 6/s of 1300 tokens, answered by 150: 1.3 prefill and 1.5 decode replicas carry that within the limits.
    # Half a minute: on a busy machine, rates of the first twenty seconds show two thirds of it.
    requests = [Request(at=i / 6, input_tokens=1300, output_tokens=150) for i in range(6 * 30)]
    asyncio.run(replay.run(requests))
    assert [o.error for o in replay.failed] == []
    grown = objects.replicas("live")
    assert min(grown) >= 2
    objects.wait_replicas("live", 1, 1, within=90)


@pytest.mark.disturbs("workers")
def test_an_unhealthy_gpu_is_no_longer_given_out(objects: Objects, cluster: KindCluster) -> None:
    core: Any = client.CoreV1Api(objects.api)
    worker = cluster.workers[0]
    address = plugin_address(core, worker)

    def allocatable() -> str:
        return str(core.read_node(worker).status.allocatable[GPU])

    httpx.put(f"http://{address}:9091/gpus/3", params={"health": "unhealthy"}, timeout=5).raise_for_status()
    eventually(lambda: allocatable() == "7", within=60, what=f"{worker} has 7 GPUs to give")
    httpx.put(f"http://{address}:9091/gpus/3", params={"health": "healthy"}, timeout=5).raise_for_status()
    eventually(lambda: allocatable() == "8", within=60, what=f"{worker} has 8 GPUs to give again")


def plugin_address(core: Any, node: str) -> str:
    pods = core.list_namespaced_pod("gpu-plugin", field_selector=f"spec.nodeName={node}").items
    return str(pods[0].status.pod_ip)


@pytest.mark.disturbs("workers")
def test_new_arguments_roll_through_workers_that_are_full(objects: Objects) -> None:
    full = {**PROCESS, "minReplicas": 2, "gpusPerReplica": 4}
    objects.create(serving("full", prefill=full, decode=full, gpuBudget=16, scaling={"mode": "Paused"}))
    objects.wait("full", kind="Ready", status="True", within=180)
    objects.patch("full", engine={"args": ["--mean-answer-tokens", "100"]})

    def rolled() -> bool:
        pods = [p for role in ("prefill", "decode") for p in objects.pods("full", role)]
        new = ["--mean-answer-tokens" in (p.spec.containers[0].args or ()) for p in pods]
        return len(new) == 4 and all(new)

    eventually(rolled, within=180, what="every engine has the new arguments", every=0.5)
    objects.wait("full", kind="Ready", status="True", within=90)


@pytest.mark.disturbs("workers")
def test_a_lost_node_is_seen_and_its_return_is_used(objects: Objects, cluster: KindCluster) -> None:
    core: Any = client.CoreV1Api(objects.api)
    worker = cluster.workers[-1]

    def ready() -> str:
        conditions = core.read_node(worker).status.conditions
        return str(next(c.status for c in conditions if c.type == "Ready"))

    cluster.stop_node(worker)
    try:
        eventually(lambda: ready() != "True", within=120, what=f"{worker} is NotReady", every=1)
        spec = serving("after", prefill=PROCESS, decode=PROCESS, scaling={"mode": "Paused"})
        objects.create(json.loads(json.dumps(spec)))
        objects.wait("after", kind="Ready", status="True", within=120)
        assert {p.spec.node_name for p in objects.pods("after", "decode")} != {worker}
    finally:
        cluster.start_node(worker)
    eventually(lambda: ready() == "True", within=120, what=f"{worker} is Ready again", every=1)
    eventually(
        lambda: core.read_node(worker).status.allocatable.get(GPU) == "8",
        within=120,
        what=f"{worker} has its GPUs again",
        every=1,
    )
