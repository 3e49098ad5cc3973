"""What only real containers show: images, DNS, the device plugin, and what is killed under load."""

import asyncio
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
from kubernetes import client

from pdscale_e2e.cluster.kind import KindCluster
from pdscale_e2e.install import NAMESPACE, lease_holder, pod_of, wait_for_operator
from pdscale_e2e.nodes.spec import GPU
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.replay.client import Outcome
from pdscale_e2e.replay.run import Replay
from pdscale_e2e.replay.trace import Request
from pdscale_e2e.waiting import eventually

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.containers,
    pytest.mark.workers,
    pytest.mark.together,
    pytest.mark.long,
]
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


@pytest.fixture(scope="module")
def chat(product: client.ApiClient, prometheus: Prometheus, shared_namespace: str) -> Objects:
    """One object for the whole file: what is killed has to come back for the next test."""
    objects = Objects(product, shared_namespace, prometheus.url)
    objects.create(serving("chat", prefill=PROCESS, decode=PROCESS, scaling={"mode": "Paused"}))
    objects.wait("chat", kind="Ready", status="True", within=120)
    objects.answers("chat", within=60)
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


class Load:
    """Short answers asked for all the while, six a second; ``end`` gives what became of them."""

    def __init__(self, url: str) -> None:
        self._replay = Replay(url=url, model=MODEL, seed=11, patience=30)
        self._over = False
        requests = [Request(at=i / 6, input_tokens=200, output_tokens=8) for i in range(6 * 120)]
        running = self._replay.run(requests, stopped=lambda: self._over)
        self._thread = Thread(target=lambda: asyncio.run(running))
        self._thread.start()

    @property
    def answered(self) -> int:
        return len(self._replay.outcomes) - len(self._replay.failed)

    def answers_again(self, within: float = 60) -> None:
        """Wait until six requests in a row were answered."""
        eventually(
            lambda: len(last := self._replay.outcomes[-6:]) == 6 and not any(o.error for o in last),
            within=within,
            what="six good answers in a row",
        )

    def end(self) -> list[Outcome]:
        self._over = True
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), "a request has neither ended nor failed"
        assert len(self._replay.outcomes) == self._replay.sent
        return self._replay.failed


@pytest.fixture
def load(chat: Objects) -> Iterator[Load]:
    running = Load(chat.url("chat"))
    running.answers_again()
    yield running
    running.end()


@pytest.mark.parametrize(
    ("role", "container"),
    [
        pytest.param("prefill", "engine", id="prefill-engine"),
        pytest.param("decode", "engine", id="decode-engine"),
        pytest.param("decode", "router", id="sidecar"),
        pytest.param("router", "router", id="front-router"),
    ],
)
def test_a_container_killed_under_load_is_started_again_and_serves(
    chat: Objects, cluster: KindCluster, load: Load, role: str, container: str
) -> None:
    pod = chat.pods("chat", role)[0]
    before = restarts(pod, container)
    kill(cluster, pod, container)

    def restarted() -> bool:
        found = chat.pods("chat", role)[0]
        return restarts(found, container) > before and ready(found, container)

    eventually(restarted, within=90, what=f"the container {container} of {pod.metadata.name} is back")
    load.answers_again()
    failed = load.end()
    if role == "prefill":  # the decode replica computes the prompt itself
        assert [o.error for o in failed] == []
    chat.wait("chat", kind="Ready", status="True", within=60)


@pytest.mark.disturbs("product")
def test_an_operator_killed_under_load_costs_no_request_and_goes_on(
    chat: Objects, cluster: KindCluster, load: Load
) -> None:
    core: Any = client.CoreV1Api(chat.api)
    writer = core.read_namespaced_pod(pod_of(lease_holder(chat.api)), NAMESPACE)
    kill(cluster, writer, "operator")
    chat.patch("chat", scaling={"mode": "Auto"}, decode={"minReplicas": 2})
    chat.wait_replicas("chat", 1, 2, within=90)
    wait_for_operator(chat.api)
    assert [o.error for o in load.end()] == []


def containers(pod: Any) -> list[Any]:
    return [*(pod.status.container_statuses or ()), *(pod.status.init_container_statuses or ())]


def restarts(pod: Any, container: str) -> int:
    return next((int(s.restart_count) for s in containers(pod) if s.name == container), 0)


def ready(pod: Any, container: str) -> bool:
    return any(s.name == container and s.ready for s in containers(pod))


def kill(cluster: KindCluster, pod: Any, container: str) -> None:
    """kill -9 of the container's first process, by the node's own container runtime."""
    found = next(s.container_id for s in containers(pod) if s.name == container)
    identity = found.removeprefix("containerd://")
    tasks = cluster.inside(pod.spec.node_name, "ctr", "-n", "k8s.io", "tasks", "ls")
    process = next(line.split()[1] for line in tasks.splitlines() if line.startswith(identity))
    cluster.inside(pod.spec.node_name, "kill", "-9", process)
