"""``helm test``: the hook's pod runs from an image, finds the Service by DNS and asks the operator."""

from typing import Any

import pytest
from kubernetes import client

from pdscale_e2e.cluster.kind import KindCluster
from pdscale_e2e.install import NAMESPACE, RELEASE, helm_test, wait_for_operator
from pdscale_e2e.waiting import eventually

# Helm's test writes the release's record as it read it: an upgrade beside it would be pending for good.
pytestmark = [pytest.mark.cluster, pytest.mark.containers, pytest.mark.disturbs("product")]


def pods(api: client.ApiClient, name: str) -> list[Any]:
    core: Any = client.CoreV1Api(api)
    found: list[Any] = core.list_namespaced_pod(
        NAMESPACE, label_selector=f"app.kubernetes.io/name={name}"
    ).items
    return found


def pods_of_the_test(api: client.ApiClient) -> list[Any]:
    return pods(api, "pdscale-test")


def test_the_release_passes_its_own_test_and_no_pod_of_it_stays(
    product: client.ApiClient, cluster: KindCluster
) -> None:
    helm_test(cluster.kubeconfig)
    eventually(lambda: not pods_of_the_test(product), within=60, what="the pod of the test is gone")


def test_a_release_whose_operator_is_away_fails_its_test_until_it_is_back(
    product: client.ApiClient, cluster: KindCluster
) -> None:
    apps: Any = client.AppsV1Api(product)
    before = apps.read_namespaced_deployment_scale(RELEASE, NAMESPACE).spec.replicas
    try:
        apps.patch_namespaced_deployment_scale(RELEASE, NAMESPACE, {"spec": {"replicas": 0}})
        # Of a Service without ready pods, those that are ending still answer.
        eventually(
            lambda: not pods(product, "pdscale-operator"), within=90, what="the operator's pods are gone"
        )
        with pytest.raises(RuntimeError, match="helm test failed"):
            helm_test(cluster.kubeconfig)
        (failed,) = pods_of_the_test(product)  # it stays to be looked at, until the next test
    finally:
        apps.patch_namespaced_deployment_scale(RELEASE, NAMESPACE, {"spec": {"replicas": before}})
        wait_for_operator(product)
    assert failed.status.phase == "Failed"
    helm_test(cluster.kubeconfig)
    eventually(lambda: not pods_of_the_test(product), within=60, what="the pods of both tests are gone")
