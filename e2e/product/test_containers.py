"""What only real containers show: images, DNS, the kubelet, the device plugin, nodes that go away."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from kubernetes import client

from pdscale_e2e.cluster.kind import KindCluster
from pdscale_e2e.install import NAMESPACE, wait_for_operator
from pdscale_e2e.nodes.spec import GPU
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.replay.run import Replay
from pdscale_e2e.replay.trace import Request
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.containers]
PROCESS = on_nodes("process")
MODEL = "meta-llama/Llama-2-70b-chat-hf"

# Standard library only: it runs in the pod of an image that has nothing for clients.
ASK = """
import json, sys, urllib.request
body = {"model": "MODEL", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 5}
request = urllib.request.Request(
    sys.argv[1] + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
)
print(json.load(urllib.request.urlopen(request, timeout=30))["usage"]["completion_tokens"])
""".replace("MODEL", MODEL)


def service(objects: Objects, name: str) -> str:
    core: Any = client.CoreV1Api(objects.api)
    return f"http://{core.read_namespaced_service(name, objects.namespace).spec.cluster_ip}"


def answers(url: str) -> None:
    def answered() -> bool:
        try:
            return httpx.get(f"{url}/v1/models", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    eventually(answered, within=60, what=f"{url} answers", every=0.5)


@pytest.fixture
def chat(objects: Objects) -> Objects:
    objects.create(serving("chat", prefill=PROCESS, decode=PROCESS, scaling={"mode": "Paused"}))
    objects.wait("chat", kind="Ready", status="True", within=120)
    answers(service(objects, "chat"))
    return objects


def test_a_pod_reaches_a_deployment_by_the_dns_name_of_its_service(
    chat: Objects, cluster: KindCluster
) -> None:
    core: Any = client.CoreV1Api(chat.api)
    url = f"http://chat.{chat.namespace}.svc.cluster.local"
    container = {
        "name": "ask",
        "image": cluster.image("e2e"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", ASK, url],
    }
    pod = {"metadata": {"name": "ask"}, "spec": {"containers": [container], "restartPolicy": "Never"}}
    core.create_namespaced_pod(chat.namespace, pod)
    phase = eventually(
        lambda: {"Succeeded": "ok", "Failed": "bad"}.get(
            core.read_namespaced_pod("ask", chat.namespace).status.phase
        ),
        within=90,
        what="the asking pod has ended",
    )
    said = core.read_namespaced_pod_log("ask", chat.namespace)
    assert (phase, said.strip()) == ("ok", "5")


def test_the_device_plugin_gives_each_engine_its_own_gpus(chat: Objects) -> None:
    core: Any = client.CoreV1Api(chat.api)
    pods = [p for role in ("prefill", "decode") for p in chat.pods("chat", role)]
    assert all(p.spec.containers[0].resources.limits[GPU] == "1" for p in pods)
    workers = {p.spec.node_name for p in pods}
    for worker in workers:
        assert core.read_node(worker).status.allocatable[GPU] == "8"


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
    url = service(objects, "live")
    answers(url)
    replay = Replay(url=url, model=MODEL, seed=3)
    # 6/s of 1300 tokens, answered by 150: 1.3 prefill and 1.5 decode replicas carry that within the limits.
    requests = [Request(at=i / 6, input_tokens=1300, output_tokens=150) for i in range(6 * 45)]
    asyncio.run(replay.run(requests))
    assert [o.error for o in replay.failed] == []
    grown = objects.replicas("live")
    assert min(grown) >= 2
    objects.wait_replicas("live", 1, 1, within=90)


@pytest.mark.parametrize(
    ("role", "program", "container"),
    [
        pytest.param("decode", "pdscale.emulator", "engine", id="engine"),
        pytest.param("decode", "pdscale.router", "router", id="sidecar"),
        pytest.param("router", "pdscale.router", "router", id="front-router"),
    ],
)
def test_a_killed_container_is_started_again_and_serves(
    chat: Objects, cluster: KindCluster, role: str, program: str, container: str
) -> None:
    pod = chat.pods("chat", role)[0]
    kill(cluster, pod, container)

    def restarted() -> bool:
        found = chat.pods("chat", role)[0]
        every = [*(found.status.container_statuses or ()), *(found.status.init_container_statuses or ())]
        return any(s.name == container and s.restart_count >= 1 and s.ready for s in every)

    eventually(restarted, within=90, what=f"the container {container} of {pod.metadata.name} is back")
    answers(service(chat, "chat"))
    chat.wait("chat", kind="Ready", status="True", within=60)


def kill(cluster: KindCluster, pod: Any, container: str) -> None:
    """kill -9 of the container's first process, by the node's own container runtime."""
    statuses = [*(pod.status.container_statuses or ()), *(pod.status.init_container_statuses or ())]
    found = next(s.container_id for s in statuses if s.name == container)
    identity = found.removeprefix("containerd://")
    tasks = cluster.inside(pod.spec.node_name, "ctr", "-n", "k8s.io", "tasks", "ls")
    process = next(line.split()[1] for line in tasks.splitlines() if line.startswith(identity))
    cluster.inside(pod.spec.node_name, "kill", "-9", process)


def test_a_killed_operator_comes_back_and_goes_on(chat: Objects, cluster: KindCluster) -> None:
    core: Any = client.CoreV1Api(chat.api)
    pod = core.list_namespaced_pod(NAMESPACE).items[0]
    kill(cluster, pod, "operator")
    chat.patch("chat", scaling={"mode": "Auto"}, decode={"minReplicas": 2})
    chat.wait_replicas("chat", 1, 2, within=90)
    wait_for_operator(chat.api)


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


def test_a_lost_node_is_seen_and_its_return_is_used(
    objects: Objects, cluster: KindCluster, dial: Callable[[str, float], None]
) -> None:
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
