"""How fast real pods come and go: kind, the operator by Helm, engines in containers on mock GPUs.

Unlike on the local cluster, every figure contains container runtime, kubelet and kube-proxy. Images are on
the nodes already and engines load no weights, so nothing of a model's own start-up is in them. An engine's
probes ask every 2 s, which is the grain of what waits for a pod to be Ready.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from kubernetes import client

from benchmarks.rows import Row, median_and_worst, publish
from pdscale_e2e.cluster import ClusterUnavailable, open_cluster
from pdscale_e2e.objects import GOOD, Objects, on_nodes, serving
from pdscale_e2e.product import operator_on, prometheus_on
from pdscale_e2e.waiting import eventually

TIMES = 10
POOL = on_nodes("process")
# The way down has no window, so that what is measured is the pod's end and not the wait before it.
SCALING = {"scaleDownWindow": "0s"}
ASK = {
    "model": GOOD["model"],
    "messages": [{"role": "user", "content": "hello there"}],
    "max_tokens": 4,
    "stream": True,
}


def main() -> None:
    try:
        cluster = open_cluster({**os.environ, "PDSCALE_E2E_CLUSTER": "kind"})
    except ClusterUnavailable as error:
        sys.exit(f"bench kind: {error}")
    try:
        with prometheus_on(cluster) as prometheus, operator_on(cluster) as api, _namespace(api) as name:
            objects = Objects(api, name, prometheus.url)
            publish("kind", [*_created(objects), *_resized(objects)])
    finally:
        cluster.stop()


@contextmanager
def _namespace(api: client.ApiClient) -> Iterator[str]:
    core: Any = client.CoreV1Api(api)
    name = f"bench-{os.getpid()}"
    core.create_namespace({"metadata": {"name": name}})
    try:
        yield name
    finally:
        core.delete_namespace(name)


def _created(objects: Objects) -> list[Row]:
    with httpx.Client(timeout=httpx.Timeout(30, connect=1)) as http:
        seconds = [_created_once(objects, http, f"cold-{number}") for number in range(TIMES)]
    config = f"{TIMES} objects of 1P+1D, one after another; images on the nodes"
    return median_and_worst("create -> first streamed token through the Service", seconds, config)


def _created_once(objects: Objects, http: httpx.Client, name: str) -> float:
    core: Any = client.CoreV1Api(objects.api)

    def first_token() -> bool:
        return _streams(http, core.read_namespaced_service(name, objects.namespace).spec.cluster_ip)

    manifest = serving(name, prefill=POOL, decode=POOL, scaling=SCALING)
    seconds = _timed(lambda: objects.create(manifest), first_token, what=f"the first token of {name}")
    objects.delete(name)
    # What is going would take the next one's two cores.
    eventually(lambda: not objects.pods(name), within=120, what=f"the pods of {name} are gone")
    return seconds


def _streams(http: httpx.Client, address: str) -> bool:
    """Whether a token comes; the rest of the answer is not read."""
    try:
        with http.stream("POST", f"http://{address}/v1/chat/completions", json=ASK) as answer:
            return answer.status_code == 200 and any(_has_token(line) for line in answer.iter_lines())
    except httpx.HTTPError:
        return False


def _has_token(line: str) -> bool:
    if not line.startswith("data: {"):
        return False
    choices = json.loads(line.removeprefix("data: ")).get("choices", ())
    return any(choice.get("delta", {}).get("content") for choice in choices)


def _resized(objects: Objects) -> list[Row]:
    objects.create(serving("resized", prefill=POOL, decode=_bounds(1), scaling=SCALING))
    objects.wait("resized", kind="Ready", status="True", within=120)
    up, down = [], []
    for _ in range(TIMES):
        up.append(
            _timed(
                lambda: objects.patch("resized", decode=_bounds(2)),
                lambda: sum(map(_is_ready, objects.pods("resized", "decode"))) == 2,
                what="the second decode pod is Ready",
            )
        )
        down.append(
            _timed(
                lambda: objects.patch("resized", decode=_bounds(1)),
                lambda: len(objects.pods("resized", "decode")) == 1,
                what="the second decode pod is gone",
            )
        )
    config = f"decode 1 -> 2 -> 1 replicas by its bounds, {TIMES} times; interval 1 s, no open requests"
    return [
        *median_and_worst("scale-up -> pod Ready", up, config),
        *median_and_worst("drain -> pod gone", down, config),
    ]


def _bounds(replicas: int) -> dict[str, Any]:
    """Both bounds: without traffic nothing else says how many there should be."""
    return {**POOL, "minReplicas": replicas, "maxReplicas": replicas}


def _is_ready(pod: Any) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())


def _timed(act: Callable[[], object], done: Callable[[], object], *, what: str) -> float:
    started = time.monotonic()
    act()
    eventually(done, within=120, what=what, every=0.05)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
