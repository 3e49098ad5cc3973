"""The validating webhook on a real API server: refused is what two would scale at once, at the door.

Where Services reach pods from everywhere it comes by Helm, certificate and all; elsewhere the chart's
configuration is applied with the address of an operator that runs beside the cluster.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from pdscale.controller.webhook import CERTIFICATE, KEY, PATH
from pdscale_e2e.cluster.kind import KindCluster
from pdscale_e2e.cluster.pki import Authority
from pdscale_e2e.install import Manifest, apply, helm_install, rendered
from pdscale_e2e.objects import Objects, on_nodes, serving
from pdscale_e2e.product import values
from pdscale_e2e.trial import ADMIN, Trial
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster]
PORT: Final = 9443
STATUS: Final = on_nodes("status")
AUTOSCALER: Final[Manifest] = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "cpu"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-decode"},
        "maxReplicas": 4,
    },
}


def thief() -> Manifest:
    """A second object, whose decode pool is that of the first."""
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat-decode"}
    return serving("thief", prefill=STATUS, decode={"scaleTargetRef": ref})


def refusal(objects: Objects, manifest: Manifest) -> str:
    """What the API server would say of it; empty if it would take it."""
    try:
        if manifest["kind"] == "ServingDeployment":
            objects.create(manifest, dry_run=True)
        else:
            create_autoscaler(objects, dry_run="All")
    except ApiException as error:
        if error.status != 403:
            raise
        return str(json.loads(error.body or "")["message"])
    return ""


def create_autoscaler(objects: Objects, **how: Any) -> None:
    autoscaling: Any = client.AutoscalingV2Api(objects.api)
    autoscaling.create_namespaced_horizontal_pod_autoscaler(objects.namespace, AUTOSCALER, **how)


def check(objects: Objects) -> None:
    """Everything that is refused, and what must not be."""
    objects.create(serving("chat", prefill=STATUS, decode=STATUS))
    said = (
        'admission webhook "horizontalpodautoscalers.pdscale.io" denied the request: scaleTargetRef must be'
    )
    expected = (
        f"{said} what nobody else scales, got Deployment chat-decode, which is decode of ServingDeployment"
    )
    eventually(lambda: refusal(objects, AUTOSCALER).startswith(expected), within=30, what="an HPA is refused")
    stolen = refusal(objects, thief())
    assert "decode: Deployment chat-decode is decode of ServingDeployment chat, which was there" in stolen
    objects.patch("chat", gpuBudget=12, scaling={"mode": "Recommend"})
    create_autoscaler(objects)
    with pytest.raises(ApiException, match="HorizontalPodAutoscaler cpu scales Deployment chat-decode, too"):
        objects.patch("chat", scaling={"mode": "Auto"})
    objects.patch("chat", gpuBudget=10)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "authority")


@pytest.fixture
def more_settings(authority: Authority, tmp_path: Path) -> dict[str, str]:
    pair = authority.issue("webhook", user="webhook", names=[f"IP:{ADMIN[0]}"])
    folder = tmp_path / "webhook"
    folder.mkdir()
    (folder / CERTIFICATE).write_bytes(pair.certificate.read_bytes())
    (folder / KEY).write_bytes(pair.key.read_bytes())
    return {"PDSCALE_WEBHOOK_CERTIFICATES": str(folder), "PDSCALE_WEBHOOK_PORT": str(PORT)}


@pytest.fixture
def configured(it: Trial, authority: Authority) -> Iterator[Trial]:
    """The API server asks the operator on trial about its namespace."""
    given = {"webhook": {"enabled": True}, "watchNamespaces": [it.objects.namespace]}
    (found,) = (m for m in rendered(given) if m["kind"] == "ValidatingWebhookConfiguration")
    trusted = base64.b64encode(authority.pair.certificate.read_bytes()).decode()
    for webhook in found["webhooks"]:
        webhook["clientConfig"] = {"url": f"https://{ADMIN[0]}:{PORT}{PATH}", "caBundle": trusted}
    apply(it.objects.api, [found], namespace="")
    yield it
    registration: Any = client.AdmissionregistrationV1Api(it.objects.api)
    registration.delete_validating_webhook_configuration(found["metadata"]["name"])


@pytest.mark.process_nodes
def test_claims_of_what_somebody_scales_are_refused(configured: Trial) -> None:
    check(configured.objects)


@pytest.mark.process_nodes
def test_without_an_operator_all_is_admitted_and_the_condition_tells(configured: Trial) -> None:
    objects = configured.objects
    configured.deployed("chat", decode=1)
    eventually(lambda: refusal(objects, AUTOSCALER) != "", within=30, what="an HPA is refused")
    configured.killed()
    create_autoscaler(objects)
    configured.operator.start()
    objects.wait("chat", kind="ScalingActive", status="False", reason="TargetShared", within=60)


@pytest.mark.containers
@pytest.mark.disturbs("product")
def test_helm_brings_it_certificate_and_all(objects: Objects, cluster: KindCluster) -> None:
    """It stays until the release is uninstalled, and says nothing of a ServingDeployment that is alone."""
    helm_install(cluster.kubeconfig, {**values(cluster), "webhook": {"enabled": True}})
    check(objects)
