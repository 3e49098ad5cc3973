"""The last of the suite, by its name: take the product off again and look what stays."""

from typing import Any

import pytest
from kubernetes import client

from pdscale_e2e.cluster.kind import KindCluster
from pdscale_e2e.install import NAMESPACE, helm_uninstall
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.containers]


@pytest.mark.disturbs("product")
def test_uninstalling_leaves_the_crd_and_nothing_else(objects: Objects, cluster: KindCluster) -> None:
    status = on_nodes("status")
    objects.create(serving("left", prefill=status, decode=status))
    objects.wait("left", kind="Ready", status="True", within=90)
    objects.delete("left")
    apps: Any = client.AppsV1Api(objects.api)
    eventually(
        lambda: not apps.list_namespaced_deployment(objects.namespace).items and not objects.pods("left"),
        within=90,
        what="everything of the deleted object is gone",
    )
    helm_uninstall(cluster.kubeconfig)
    core: Any = client.CoreV1Api(objects.api)
    eventually(
        lambda: not core.list_namespaced_pod(NAMESPACE).items,
        within=60,
        what="the operator's pod is gone",
    )
    rbac: Any = client.RbacAuthorizationV1Api(objects.api)
    ours = [r.metadata.name for r in rbac.list_cluster_role().items if r.metadata.name.startswith("pdscale")]
    assert ours == []
    registration: Any = client.AdmissionregistrationV1Api(objects.api)
    found = registration.list_validating_webhook_configuration().items
    assert [c.metadata.name for c in found if c.metadata.name.startswith("pdscale")] == []
    # The CRD stays, so that an upgrade by uninstall and install loses nobody's objects; none may be stuck.
    extensions: Any = client.ApiextensionsV1Api(objects.api)
    crd = extensions.read_custom_resource_definition("servingdeployments.pdscale.io")
    assert crd.metadata.deletion_timestamp is None
    custom: Any = client.CustomObjectsApi(objects.api)
    left = custom.list_cluster_custom_object("pdscale.io", "v1alpha1", "servingdeployments")["items"]
    assert [o["metadata"]["name"] for o in left if o["metadata"].get("finalizers")] == []
