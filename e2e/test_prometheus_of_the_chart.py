"""A cluster without any Prometheus: what the chart brings by default is enough for an example to be measured.

Two things are this test bed's own. Pods share one network, so the server listens on its pod's address alone;
and there is no cluster DNS, so the operator gets the Service's address in the place of its name.
"""

import os
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from kubernetes import client, dynamic

from pdscale_e2e.binaries import program
from pdscale_e2e.cluster import Cluster
from pdscale_e2e.install import NAMESPACE, Manifest, apply, crds, examples, rendered, wait_for_operator
from pdscale_e2e.nodes.spec import Mode, NodeSpec, gpu_nodes
from pdscale_e2e.objects import Objects
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes, pytest.mark.bare]

SERVER: Final = "pdscale-prometheus"
CLUSTER_WIDE: Final = {"ClusterRole", "ClusterRoleBinding"}


@pytest.fixture
def objects(
    cluster: Cluster, api: client.ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Objects]:
    """The release with default values, but for a second in the place of a scrape's fifteen."""
    path = os.pathsep.join([str(program("prometheus").parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)  # where an image would have it
    added = cluster.add_nodes(
        [
            NodeSpec("brought-cpu", mode=Mode.PROCESS),
            *gpu_nodes(2, gpus=8, prefix="brought", mode=Mode.PROCESS),
        ]
    )
    found = rendered({"prometheus": {"scrapeInterval": "1s"}})
    apply(api, [_namespace(), *crds()], namespace=NAMESPACE, manager="helm")  # as releases of other tests do
    apply(api, [m for m in found if m["kind"] == "Service"], namespace=NAMESPACE)
    core: Any = client.CoreV1Api(api)
    address: str = core.read_namespaced_service(SERVER, NAMESPACE).spec.cluster_ip
    for manifest in found:
        if manifest["kind"] == "Deployment":
            _adapted(manifest, address)
    try:
        apply(api, found, namespace=NAMESPACE)
        wait_for_operator(api)
        yield Objects(api, namespace)
    finally:
        known = dynamic.DynamicClient(api).resources
        for manifest in (m for m in found if m["kind"] in CLUSTER_WIDE):
            known.get(kind=manifest["kind"]).delete(name=manifest["metadata"]["name"])
        core.delete_namespace(NAMESPACE)
        # Its nodes end its pods, and the next release goes to a namespace of the same name.
        eventually(
            lambda: NAMESPACE not in {n.metadata.name for n in core.list_namespace().items},
            within=60,
            what=f"namespace {NAMESPACE} is gone",
        )
        added.stop()


def _namespace() -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def _adapted(deployment: Manifest, address: str) -> None:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    if deployment["metadata"]["name"] == SERVER:
        container["env"] = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
        container["args"].append("--web.listen-address=$(POD_IP):9090")
        return
    (told,) = (v for v in container["env"] if v["name"] == "PDSCALE_PROMETHEUS_URL")
    host = urlsplit(told["value"]).hostname
    assert host == f"{SERVER}.{NAMESPACE}"
    told["value"] = told["value"].replace(host, address)


def test_an_example_that_names_no_prometheus_is_measured_at_once(objects: Objects) -> None:
    (example,) = examples("emulated.yaml")
    assert "prometheus" not in example["spec"]
    apply(objects.api, [example], namespace=objects.namespace)
    objects.wait("chat", kind="Ready", status="True", within=90)
    objects.wait("chat", kind="MetricsAvailable", status="True", within=120)
    objects.delete("chat")
    eventually(lambda: not objects.exists("chat"), within=60, what="the operator has let it go")
