"""The control plane is a real one, its nodes count GPUs, Services answer, and nothing is left behind."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from pdscale_e2e.asking import ask
from pdscale_e2e.cluster import Capability, Cluster, ClusterUnavailable, Nodes, open_cluster
from pdscale_e2e.nodes.spec import GPU, Mode, NodeSpec
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.waiting import eventually

SPECIMEN = ["python", "-m", "pdscale_e2e.specimen"]
POD_IP = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


@pytest.fixture(scope="module")
def worker(cluster: Cluster) -> Iterator[Nodes]:
    """A node that runs processes."""
    if Capability.PROCESS_NODES not in cluster.capabilities:
        pytest.skip("this cluster has no nodes that run processes")
    added = cluster.add_nodes([NodeSpec("worker", mode=Mode.PROCESS)])
    yield added
    added.stop()


def deployment(name: str, *, replicas: int, pod: dict[str, Any], **labels: str) -> dict[str, Any]:
    labels = {"app": name, **labels}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def gpu_pod(namespace: str, gpus: int) -> dict[str, Any]:
    return {
        "nodeSelector": {"e2e": namespace},
        "tolerations": [{"key": GPU, "operator": "Exists"}],
        "containers": [{"name": "engine", "image": "none", "resources": {"limits": {GPU: str(gpus)}}}],
    }


def is_ready(pod: client.V1Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())


def test_the_control_plane_comes_up_with_a_default_service_account(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    assert core.read_namespaced_service_account("default", "default")
    assert client.VersionApi(api).get_code().git_version.startswith("v1.")


def test_a_service_account_without_rights_is_refused(
    cluster: Cluster, api: client.ApiClient, namespace: str
) -> None:
    request = client.CoreV1Api(api).create_namespaced_service_account_token(
        "default", namespace, {"spec": {"expirationSeconds": 600}}
    )
    settings = client.Configuration()
    settings.host = api.configuration.host
    settings.ssl_ca_cert = api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": f"Bearer {request.status.token}"}
    with client.ApiClient(settings) as powerless, pytest.raises(ApiException) as refused:
        client.CoreV1Api(powerless).list_namespaced_pod(namespace)
    assert refused.value.status == 403


def test_only_as_many_pods_run_as_there_are_gpus_for(
    api: client.ApiClient, namespace: str, gpu_nodes: Callable[..., Nodes]
) -> None:
    gpu_nodes(4, gpus=8)
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    core.create_namespaced_service(
        namespace,
        {"metadata": {"name": "big"}, "spec": {"selector": {"app": "big"}, "ports": [{"port": 80}]}},
    )
    wanted = deployment("big", replicas=10, pod=gpu_pod(namespace, 4))
    apps.create_namespaced_deployment(namespace, wanted)

    def settled() -> list[client.V1Pod] | None:
        pods = core.list_namespaced_pod(namespace).items
        return pods if sum(map(is_ready, pods)) >= 8 and len(pods) == 10 else None

    pods = eventually(settled, within=15, what="8 pods of 4 GPUs to be Ready on 4 nodes of 8 GPUs")
    assert sum(map(is_ready, pods)) == 8
    assert [pod.status.phase for pod in pods if not is_ready(pod)] == ["Pending", "Pending"]

    ready = {pod.status.pod_ip for pod in pods if is_ready(pod)}
    assert len(ready) == 8
    eventually(
        lambda: endpoints_of(api, namespace, "big") == ready,
        within=10,
        what="the Service's EndpointSlices to hold the ready pods",
    )


def endpoints_of(api: client.ApiClient, namespace: str, service: str) -> set[str]:
    slices = client.DiscoveryV1Api(api).list_namespaced_endpoint_slice(
        namespace, label_selector=f"kubernetes.io/service-name={service}"
    )
    endpoints = [e for each in slices.items for e in each.endpoints or ()]
    return {address for e in endpoints if e.conditions.ready for address in e.addresses}


@pytest.mark.process_nodes
def test_a_service_leads_to_a_process(
    cluster: Cluster, api: client.ApiClient, namespace: str, worker: Nodes
) -> None:
    if Capability.SERVICES not in cluster.capabilities:
        pytest.skip("no kube-proxy: install iptables")
    serve = ["python", "-m", "http.server", "--bind", "$(POD_IP)", "8000"]
    container = {
        "name": "web",
        "image": "none",
        "command": serve,
        "env": [POD_IP],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
    }
    client.AppsV1Api(api).create_namespaced_deployment(
        namespace, deployment("web", replicas=1, pod={"containers": [container]})
    )
    service = client.CoreV1Api(api).create_namespaced_service(
        namespace,
        {
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    )
    eventually(lambda: endpoints_of(api, namespace, "web"), within=20, what="an endpoint")
    url = f"http://{service.spec.cluster_ip}/"
    eventually(lambda: ask("GET", url, timeout=1), within=10, what=f"the Service to answer at {url}")


@pytest.mark.process_nodes
def test_prometheus_finds_labelled_pods_and_keeps_its_series_over_an_outage(
    cluster: Cluster, api: client.ApiClient, namespace: str, worker: Nodes
) -> None:
    labels = {
        "app.kubernetes.io/managed-by": "pdscale",
        "pdscale.io/deployment": "chat",
        "pdscale.io/role": "decode",
    }
    container = {
        "name": "engine",
        "image": "none",
        "command": SPECIMEN,
        "env": [POD_IP],
        "ports": [{"name": "engine", "containerPort": 8000}],
    }
    client.CoreV1Api(api).create_namespaced_pod(
        namespace,
        {"metadata": {"name": "engine", "labels": labels}, "spec": {"containers": [container]}},
    )
    prometheus = Prometheus(
        cluster.kubeconfig, scrape_interval=0.5, address="10.89.0.9:9090", logs=cluster.logs
    )
    try:
        prometheus.start()
        query = f'specimen_up{{namespace="{namespace}"}}'
        found = eventually(lambda: samples(prometheus, query), within=20, what="the specimen's series")
        assert {k: found[0]["metric"][k] for k in ("pod", "container", "deployment", "role")} == {
            "pod": "engine",
            "container": "engine",
            "deployment": "chat",
            "role": "decode",
        }
        before = time.time()
        prometheus.stop()
        prometheus.start()
        assert samples(prometheus, query, at=before)
    finally:
        prometheus.close()


def samples(prometheus: Prometheus, query: str, at: float | None = None) -> list[Any]:
    wanted = {"query": query, **({"time": str(at)} if at else {})}
    answer = json.loads(ask("GET", f"{prometheus.url}/api/v1/query?{urlencode(wanted)}"))
    result: list[Any] = answer["data"]["result"]
    return result


def test_nodes_and_pods_outlast_an_outage_of_the_api_server(
    cluster: Cluster, api: client.ApiClient, namespace: str, gpu_nodes: Callable[..., Nodes]
) -> None:
    if Capability.FAULTS not in cluster.capabilities:
        pytest.skip("this cluster's API server cannot be stopped")
    gpu_nodes(1, gpus=8)
    apps = client.AppsV1Api(api)
    wanted = deployment("two", replicas=2, pod=gpu_pod(namespace, 1))
    apps.create_namespaced_deployment(namespace, wanted)

    def ready() -> int:
        return apps.read_namespaced_deployment("two", namespace).status.ready_replicas or 0

    eventually(lambda: ready() == 2, within=15, what="2 ready replicas")

    cluster.stop_apiserver()
    cluster.start_apiserver()

    apps.patch_namespaced_deployment("two", namespace, {"spec": {"replicas": 4}})
    eventually(lambda: ready() == 4, within=30, what="4 ready replicas after the outage")


def test_an_unknown_provider_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ClusterUnavailable, match=r"one of existing, kind, local, got 'cloud'"):
        open_cluster({"PDSCALE_E2E_CLUSTER": "cloud"})


def test_an_existing_cluster_gets_nodes_with_a_taint_only(cluster: Cluster, api: client.ApiClient) -> None:
    environ = {
        "PDSCALE_E2E_CLUSTER": "existing",
        "PDSCALE_E2E_KUBECONFIG": str(cluster.kubeconfig),
    }
    existing = open_cluster(environ)
    try:
        with pytest.raises(ValueError, match="node bare: needs a taint"):
            existing.add_nodes([NodeSpec("bare")])
        existing.add_nodes([NodeSpec("guest", gpus=8)])
        node = client.CoreV1Api(api).read_node("guest")
        assert node.status.allocatable[GPU] == "8"
    finally:
        existing.stop()
    names = [node.metadata.name for node in client.CoreV1Api(api).list_node().items]
    assert "guest" not in names


@pytest.mark.parametrize("killed", [False, True], ids=["command ends", "killed from outside"])
def test_nothing_is_left_when_the_namespace_ends(killed: bool) -> None:
    mark = uuid.uuid4().hex
    stray = f"import time; time.sleep(60)  # {mark}"
    script = f'setsid "{sys.executable}" -c "{stray}" & read line'
    command = [sys.executable, "-m", "pdscale_e2e.namespace", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as outer:
        # The two processes of the namespace and the shell carry the mark as well.
        eventually(lambda: len(commands_with(mark)) == 4, within=10, what="the stray process")
        if killed:
            outer.kill()
    eventually(lambda: not commands_with(mark), within=5, what="the stray process to be gone")


def commands_with(mark: str) -> list[str]:
    """Command lines of all processes that we can see, and we see those of inner namespaces."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in line:
            found.append(line)
    return found
