"""The operator's page through the API server's proxy, as ``pdscale dashboard`` asks for it."""

import asyncio
from typing import Any

import pytest

from pdscale.controller.dashboard import Objects as Looking
from pdscale.kube.client import Kube
from pdscale_e2e.cluster import Cluster
from pdscale_e2e.install import NAMESPACE
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes]


def test_the_dashboard_shows_what_the_leading_operator_has_in_memory(
    objects: Objects, cluster: Cluster
) -> None:
    status = on_nodes("status")
    objects.create(serving("seen", prefill=status, decode=status))
    objects.wait("seen", kind="Ready", status="True", within=90)

    async def state() -> Any:
        kube = await Kube.connect(str(cluster.kubeconfig))
        try:
            return await Looking(kube, objects.namespace, NAMESPACE).state()
        finally:
            await kube.close()

    def live() -> Any:
        told = asyncio.run(state())
        return told["objects"] and told["objects"][0]["live"] and told

    told = eventually(live, within=60, what="the operator tells what it has in memory")
    (found,) = told["objects"]
    assert told["source"] == "operator"
    assert found["pools"]["decode"]["ready"] >= 1
    assert {r["state"] for r in found["live"]["replicas"]} == {"ready"}
