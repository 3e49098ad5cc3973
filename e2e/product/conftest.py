"""The product on the cluster: Prometheus, the chart with the operator as a pod, GPU nodes, load dials.

With pytest-xdist the tests run in lanes (``pdscale_e2e.lanes``): in which order, in which groups, and whose
turn it is follows from the marks ``workers``, ``together`` and ``disturbs``.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from fakes.prometheus import FakePrometheus
from fakes.threaded import in_a_thread
from pdscale_e2e.cluster import Capability, Cluster
from pdscale_e2e.cluster.standing import VARIABLE
from pdscale_e2e.dial import start, turn
from pdscale_e2e.fault_proxy import FaultProxy
from pdscale_e2e.install import NAMESPACE, RELEASE, wait_for_operator
from pdscale_e2e.lanes import Shared, waited_turn
from pdscale_e2e.monitoring import PrometheusPod
from pdscale_e2e.objects import GROUP, PLURAL, Objects
from pdscale_e2e.operator_beside import ForkedOperator, kubeconfig_of_operator, variables
from pdscale_e2e.product import operator_on, prometheus_on
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.trial import ADMIN, Trial
from pdscale_e2e.waiting import eventually


def _disturbed(item: pytest.Item) -> frozenset[Shared]:
    """What the test takes away from everybody else."""
    mark = item.get_closest_marker("disturbs")
    return frozenset(Shared(word) for word in (mark.args if mark else ()))


def _used(item: pytest.Item) -> frozenset[Shared]:
    workers = {Shared.WORKERS} if item.get_closest_marker("workers") else set[Shared]()
    return frozenset({Shared.PRODUCT, *workers})


def _group(item: pytest.Item) -> str:
    """Tests that one lane runs one after another. What disturbs is one: nothing else may wait behind it."""
    if _disturbed(item):
        return "disturbs"
    return item.path.stem if item.get_closest_marker("together") else f"{item.path.stem}-{item.name}"


def _turn(item: pytest.Item) -> str:
    """Tests of a group that disturb the same have one turn."""
    return "-".join([_group(item), *sorted(_disturbed(item))])


def _place(item: pytest.Item) -> int:
    """Who needs the workers comes first; who takes them away runs beside those that need none of them."""
    taken = _disturbed(item)
    if Shared.PRODUCT in taken:
        return 4
    if Shared.WORKERS in taken:
        return 2
    if not item.get_closest_marker("workers"):
        return 3
    return 0 if item.get_closest_marker("long") else 1


def pytest_itemcollected(item: pytest.Item) -> None:
    if hasattr(item.config, "workerinput"):
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):  # without lanes they keep the order of the files
        return
    items.sort(key=_place)
    # A lane holds one group more than it runs: behind the long ones stand those that nobody waits for.
    long = [i for i in items if _place(i) == 0]
    alone = [i for i in items if _place(i) == 3 and not i.get_closest_marker("together")]
    first = [*long, *alone[: len({_group(i) for i in long})]]
    items[:] = [*first, *(i for i in items if i not in first)]


_held = ExitStack()
_held_for: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    standing = os.environ.get(VARIABLE)
    if standing is None or _held_for == [_turn(item)]:
        return
    _held_for[:] = [_turn(item)]
    waiting = waited_turn(Path(standing).parent, uses=_used(item), disturbs=_disturbed(item), who=item.name)
    _held.enter_context(waiting)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Fixtures that tests share outlive each of them: a turn ends with the last that has it."""
    done = yield
    if nextitem is None or _turn(nextitem) != _turn(item):
        _held.close()
        _held_for.clear()
    return done


@pytest.fixture(scope="session")
def prometheus(cluster: Cluster) -> Iterator[Prometheus | PrometheusPod]:
    with prometheus_on(cluster) as server:
        yield server


@pytest.fixture(scope="session")
def product(cluster: Cluster, prometheus: Prometheus) -> Iterator[client.ApiClient]:
    """The operator runs; GPU pods find ``status`` nodes (16 GPUs) and ``process`` nodes (at least 8 GPUs)."""
    with operator_on(cluster) as api:
        yield api


@pytest.fixture
def objects(
    product: client.ApiClient, prometheus: Prometheus, namespace: str, request: pytest.FixtureRequest
) -> Objects:
    """The test's own objects, on nodes that earlier tests have left: namespaces go in the background.

    They are this lane's tests; who has the workers alone also waits for what other lanes have left there.
    """
    lane = f"{namespace.rpartition('-')[0]}-"
    core: Any = client.CoreV1Api(product)
    nodes: set[str] = set()
    if Shared.WORKERS in _disturbed(request.node):
        nodes = {n.metadata.name for n in core.list_node(label_selector="pdscale.io/nodes=process").items}

    def left() -> list[str]:
        pods = core.list_pod_for_all_namespaces(label_selector="pdscale.io/deployment").items
        return [
            p.metadata.name
            for p in pods
            if p.metadata.namespace.startswith(lane) or p.spec.node_name in nodes
        ]

    eventually(lambda: not left(), within=90, what="the pods of earlier tests are gone")
    return Objects(product, namespace, prometheus.url)


@pytest.fixture
def dial(product: client.ApiClient, cluster: Cluster, namespace: str) -> Callable[[str, float], None]:
    """``dial(name, rate)``: the traffic that a ServingDeployment seems to get, in rounds per second."""
    addresses: dict[str, str] = {}

    def set_load(name: str, rate: float) -> None:
        if name not in addresses:
            addresses[name] = start(product, namespace, name, image=cluster.image("e2e"))
        turn(addresses[name], rate)

    return set_load


@pytest.fixture(scope="session")
def process_nodes(cluster: Cluster) -> None:
    """Skips before anything is taken away: fixtures of a file come before those that judge a test's marks."""
    if Capability.PROCESS_NODES not in cluster.capabilities:
        pytest.skip("this cluster has no process-nodes")


@pytest.fixture(scope="module")
def without_the_charts_operator(process_nodes: None, product: client.ApiClient) -> Iterator[client.ApiClient]:
    """Nobody but a test's own operator serves its objects."""
    apps: Any = client.AppsV1Api(product)
    core: Any = client.CoreV1Api(product)
    before = apps.read_namespaced_deployment_scale(RELEASE, NAMESPACE).spec.replicas

    def scaled(replicas: int) -> None:
        apps.patch_namespaced_deployment_scale(RELEASE, NAMESPACE, {"spec": {"replicas": replicas}})

    scaled(0)
    eventually(
        lambda: not core.list_namespaced_pod(NAMESPACE).items,
        within=60,
        what="the chart's operators are gone",
    )
    yield product
    scaled(before)
    wait_for_operator(product)


@pytest.fixture
def more_settings() -> dict[str, str]:
    """Variables that a file's operators on trial have beyond the usual."""
    return {}


@pytest.fixture
def it(
    without_the_charts_operator: client.ApiClient,
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    more_settings: dict[str, str],
) -> Iterator[Trial]:
    """An operator on trial, in the test's namespace."""
    with in_a_thread(FakePrometheus(clock=time.time)) as metrics, FaultProxy(cluster.kubeconfig) as proxy:
        api = without_the_charts_operator
        access = kubeconfig_of_operator(api, cluster.kubeconfig, tmp_path / "kubeconfig", server=proxy.url)
        settings = {
            "PDSCALE_NAMESPACES": namespace,
            "PDSCALE_SCRAPE_INTERVAL": "1s",
            "PDSCALE_ROUTER_IMAGE": cluster.image("router"),
            **more_settings,
        }
        log = cluster.logs / "pods" / f"{NAMESPACE}_beside" / "operator.0.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        operator = ForkedOperator({**variables(access, admin=ADMIN), **settings}, log)
        trial = Trial(Objects(api, namespace, metrics.url), proxy, operator, metrics)
        trial.load(0.5)
        operator.start()
        yield trial
        proxy.faults.clear()
        if not operator.running:
            operator.over()
            operator.start()  # it takes the finalizers off
        custom: Any = client.CustomObjectsApi(api)
        custom.delete_collection_namespaced_custom_object(*GROUP, namespace, PLURAL)
        listed = custom.list_namespaced_custom_object
        eventually(
            lambda: not listed(*GROUP, namespace, PLURAL)["items"],
            within=30,
            what="the test's objects are gone",
        )
        trial.killed()
