"""A cluster for the whole run, a namespace for each test, and an account of what went wrong.

Where the machine cannot give us a cluster the tests are skipped with the reason; with ``E2E_REQUIRED=1``
they fail, so that a green run cannot hide that nothing was tested.
"""

import itertools
import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from pdscale_e2e import artefacts
from pdscale_e2e.cluster import Capability, Cluster, ClusterUnavailable, Nodes, open_cluster
from pdscale_e2e.nodes import spec as nodes
from pdscale_e2e.waiting import eventually

_LAST_LINES = 60


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("bare") is None)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    try:
        running = open_cluster()
    except ClusterUnavailable as error:
        if os.environ.get("E2E_REQUIRED"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    """The official client, as administrator."""
    connected = config.new_client_from_config(str(cluster.kubeconfig))
    yield connected
    connected.close()


_numbers = itertools.count(1)


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    """A namespace of the test's own; it goes away in the background."""
    with a_namespace(api) as name:
        yield name


@pytest.fixture(scope="module")
def shared_namespace(api: client.ApiClient) -> Iterator[str]:
    """A namespace for what the tests of one file share."""
    with a_namespace(api) as name:
        yield name


@contextmanager
def a_namespace(api: client.ApiClient) -> Iterator[str]:
    core = client.CoreV1Api(api)
    name = f"e2e-{os.getpid()}-{next(_numbers)}"
    core.create_namespace({"metadata": {"name": name}})
    eventually(
        lambda: core.read_namespaced_service_account("default", name),
        within=60,  # as controllers may be coming back from an API server that was away
        what=f"the default ServiceAccount of namespace {name}",
    )
    yield name
    core.delete_namespace(name)
    # Nobody waits for what the pods still had to do: a second is enough to end.
    core.delete_collection_namespaced_pod(name, grace_period_seconds=1)


@pytest.fixture
def gpu_nodes(cluster: Cluster, namespace: str) -> Iterator[Callable[..., Nodes]]:
    """``gpu_nodes(2, gpus=8, mode=...)``: nodes labelled ``e2e: NAMESPACE``, for this test only."""
    added: list[Nodes] = []

    def add(count: int, *, gpus: int, **fields: object) -> Nodes:
        labels = {"e2e": namespace}
        prefix = f"{namespace}-{len(added)}"
        added.append(
            cluster.add_nodes(nodes.gpu_nodes(count, gpus=gpus, prefix=prefix, labels=labels, **fields))
        )
        return added[-1]

    yield add
    for each in added:
        each.stop()


_NEEDS = {
    "cluster": frozenset[Capability](),
    "process_nodes": frozenset({Capability.PROCESS_NODES}),
    "running_pods": frozenset({Capability.RUNNING_PODS}),
    "containers": frozenset({Capability.CONTAINERS}),
}


@pytest.fixture(autouse=True)
def _capabilities(request: pytest.FixtureRequest) -> None:
    """Skip a marked test where the cluster lacks what the mark stands for."""
    for mark, needed in _NEEDS.items():
        if request.node.get_closest_marker(mark) is None:
            continue
        cluster: Cluster = request.getfixturevalue("cluster")
        if missing := needed - cluster.capabilities:
            pytest.skip(f"this cluster has no {', '.join(sorted(missing))}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    found = getattr(item, "funcargs", {})
    namespace = found.get("namespace") or found.get("shared_namespace")
    if report.failed and report.when != "teardown" and namespace and "cluster" in found:
        folder = item.config.rootpath / "build" / "e2e" / item.name
        try:
            _describe(found["api"], found["cluster"], namespace, folder)
            report.sections.append(("end-to-end", f"pods, events, logs and metrics are in {folder}"))
        except Exception as error:  # the test's own failure must not be lost
            report.sections.append(("end-to-end", f"nothing could be saved: {error!r}"))
    return report


def _describe(api: client.ApiClient, cluster: Cluster, namespace: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    core = client.CoreV1Api(api)
    pods = api.sanitize_for_serialization(core.list_namespaced_pod(namespace))
    (folder / "pods.json").write_text(json.dumps(pods, indent=1))
    operators = api.sanitize_for_serialization(core.list_namespaced_pod("pdscale-system"))
    concerned = [*pods["items"], *operators["items"]]
    (folder / "pods.txt").write_text(artefacts.describe(concerned))
    artefacts.save_metrics(concerned, folder)
    custom: Any = client.CustomObjectsApi(api)
    try:
        found = custom.list_namespaced_custom_object(
            "pdscale.io", "v1alpha1", namespace, "servingdeployments"
        )
        (folder / "servingdeployments.json").write_text(json.dumps(found["items"], indent=1))
    except ApiException:
        pass  # the CRD is not installed in this test
    events = core.list_namespaced_event(namespace).items
    lines = [f"{e.involved_object.name}: {e.reason}: {e.message}" for e in events]
    (folder / "events.txt").write_text("\n".join(lines))
    ours = (f"pods/{where}_*/*.log" for where in (namespace, "pdscale-system"))
    for log in (log for pattern in ours for log in cluster.logs.glob(pattern)):
        last = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        (folder / f"{log.parent.name}.{log.name}").write_text("\n".join(last))
