"""How fast the operator reacts, on the local cluster with the operator as a pod under the chart's rights.

Nodes answer for pods at once (``status`` nodes), so what is measured is control plane and operator. The
way from a metric to a scale contains scrape interval, rate window and operator interval: all 1 s.
"""

import time
from collections.abc import Callable

from kubernetes.client.exceptions import ApiException

from benchmarks.rows import Row, median_and_worst, publish
from pdscale_e2e.cluster import open_cluster
from pdscale_e2e.dial import start, turn
from pdscale_e2e.install import api_client, install
from pdscale_e2e.lanes import LABEL, lane
from pdscale_e2e.nodes.spec import Mode, NodeSpec, gpu_nodes
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.prometheus import Prometheus
from pdscale_e2e.waiting import eventually

CREATED, RESIZED = 10, 5
POOL = on_nodes("status")


def main() -> None:
    cluster = open_cluster()
    prometheus = Prometheus(cluster.kubeconfig, scrape_interval=1.0).start()
    try:
        cpu = NodeSpec("cpu", mode=Mode.PROCESS)
        cluster.add_nodes([cpu, *gpu_nodes(4, gpus=8, labels={"pdscale.io/nodes": "status", LABEL: lane()})])
        install(cluster.kubeconfig, {"prometheus": {"scrapeInterval": "1s"}})
        objects = Objects(api_client(cluster.kubeconfig), "default")
        publish("operator", [*_created(objects), *_resized(objects)])
    finally:
        prometheus.close()
        cluster.stop()


def _created(objects: Objects) -> list[Row]:
    children, ready = [], []
    for number in range(CREATED):
        name = f"created-{number}"
        started = time.monotonic()
        objects.create(serving(name, prefill=POOL, decode=POOL))
        children.append(_until(lambda n=name: _exists(objects, n), started, f"Deployments of {name}"))
        ready.append(
            _until(
                lambda n=name: objects.condition(n, "Ready").get("status") == "True",
                started,
                f"{name} is Ready",
            )
        )
        objects.delete(name)
    config = f"{CREATED} objects, one after another"
    return [
        *median_and_worst("create -> both pool Deployments", children, config),
        *median_and_worst("create -> Ready, front router process started", ready, config),
    ]


def _resized(objects: Objects) -> list[Row]:
    objects.create(serving("resized", prefill=POOL, decode=POOL))
    address = start(objects.api, objects.namespace, "resized", image="none")
    grown = []
    for _ in range(RESIZED):
        _calm(objects, address)
        started = time.monotonic()
        turn(address, 11.0)
        grown.append(
            _until(
                lambda: sum(objects.replicas("resized")) > 2, started, "the first scale after a rise of load"
            )
        )
    return median_and_worst(
        "metric change -> scale written", grown, "load 0.5 -> 11/s; scrape, step and interval 1 s"
    )


def _calm(objects: Objects, address: str) -> None:
    def calm() -> bool:
        turn(address, 0.5)
        known = objects.condition("resized", "MetricsAvailable").get("status") == "True"
        return known and objects.replicas("resized") == (1, 1)

    eventually(calm, within=90, what="low load and one replica of each role", every=0.5)


def _until(check: Callable[[], object], started: float, what: str) -> float:
    eventually(check, within=60, what=what, every=0.02)
    return time.monotonic() - started


def _exists(objects: Objects, name: str) -> bool:
    try:
        return len(objects.replicas(name)) == 2
    except ApiException:
        return False


if __name__ == "__main__":
    main()
