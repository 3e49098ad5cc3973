"""The chart by Helm's own command on a real API server: install, upgrade of the CRD, rollback, uninstall.

No pod has to run for that. The CRD is the cluster's own: an older chart puts its own in its place for a
while, and every test leaves the present one behind.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from kubernetes import client, dynamic
from kubernetes.client.exceptions import ApiException

from pdscale_e2e.binaries import program
from pdscale_e2e.cluster import Cluster
from pdscale_e2e.install import CHART, ROOT, SERVING, Manifest, apply, crds, examples, manifests, rendered

pytestmark = [pytest.mark.cluster, pytest.mark.bare]

CRD: Final = "servingdeployments.pdscale.io"
KEEP: Final = "helm.sh/resource-policy"
TAKE: Final = ("--set", "crds.manage=true", "--take-ownership", "--force-conflicts")


class Release:
    """One release of the chart in a namespace of the test's own, which it alone serves."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._place = ("--namespace", namespace, "--kubeconfig", str(cluster.kubeconfig))
        role = f"router-{namespace}"
        # Rights of users are added to the cluster's own roles: not by a test on somebody's cluster.
        values = {
            "watchNamespaces": f"{{{namespace}}}",
            "router.clusterRoleName": role,
            "aggregateRoles": False,
        }
        self._values = [w for k, v in values.items() for w in ("--set", f"{k}={str(v).lower()}")]

    def install(self, *more: str, chart: Path = CHART) -> None:
        self._helm("install", "r", str(chart), *self._values, *more)

    def upgrade(self, *more: str) -> None:
        self._helm("upgrade", "r", str(CHART), "--reuse-values", *more)

    def rollback(self, revision: int) -> None:
        self._helm("rollback", "r", str(revision))

    def uninstall(self) -> None:
        self._helm("uninstall", "r", "--ignore-not-found")

    def _helm(self, *words: str) -> None:
        command = [str(program("helm")), *words, *self._place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


@pytest.fixture
def release(cluster: Cluster, namespace: str, api: client.ApiClient) -> Iterator[Release]:
    apply(api, crds(), namespace=namespace, manager="helm")
    found = Release(cluster, namespace)
    yield found
    found.uninstall()
    apply(api, crds(), namespace=namespace, manager="helm")


def present() -> Manifest:
    (crd,) = crds()
    return crd


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A chart of before there was ``status.history``."""
    chart = tmp_path / "pdscale"
    shutil.copytree(CHART, chart)
    (file,) = (chart / "crds").glob("*.yaml")
    crd = present()
    del _status_of(crd)["history"]
    file.write_text(yaml.safe_dump(crd))
    return chart


def _status_of(crd: Manifest) -> dict[str, Any]:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: dict[str, Any] = schema["properties"]["status"]["properties"]
    return found


def stored(api: client.ApiClient) -> Manifest:
    crd = client.ApiextensionsV1Api(api).read_custom_resource_definition(CRD)
    found: Manifest = api.sanitize_for_serialization(crd)
    return found


def test_an_older_crd_stays_older_until_the_release_manages_it(
    release: Release, older: Path, api: client.ApiClient
) -> None:
    release.install(chart=older)
    release.upgrade()
    assert "history" not in _status_of(stored(api))
    release.upgrade(*TAKE)
    assert "history" in _status_of(stored(api))
    assert stored(api)["metadata"]["annotations"][KEEP] == "keep"


def test_by_hand_a_crd_is_taken_over_from_helm_by_force_alone(
    release: Release, older: Path, api: client.ApiClient
) -> None:
    release.install(chart=older)
    kind = dynamic.DynamicClient(api).resources.get(kind="CustomResourceDefinition")
    (file,) = (ROOT / "crds").glob("*.yaml")
    (crd,) = manifests(file.read_text())
    with pytest.raises(ApiException, match='conflict with \\\\"helm'):
        kind.server_side_apply(body=crd, field_manager="kubectl")
    kind.server_side_apply(body=crd, field_manager="kubectl", force_conflicts=True)
    assert "history" in _status_of(stored(api))


def test_objects_survive_upgrade_rollback_and_uninstall_of_a_release_that_manages_the_crd(
    release: Release, api: client.ApiClient, namespace: str
) -> None:
    release.install()
    apply(api, examples("emulated.yaml"), namespace=namespace)
    kinds = dynamic.DynamicClient(api).resources.get(
        api_version="pdscale.io/v1alpha1", kind="ServingDeployment"
    )
    uid = kinds.get(name="chat", namespace=namespace).metadata.uid
    release.upgrade(*TAKE)
    release.upgrade("--set", "replicas=1")
    release.rollback(1)
    assert kinds.get(name="chat", namespace=namespace).metadata.uid == uid
    release.uninstall()
    assert kinds.get(name="chat", namespace=namespace).metadata.uid == uid
    assert client.AppsV1Api(api).list_namespaced_deployment(namespace).items == []


def test_a_first_install_may_manage_the_crd(release: Release, api: client.ApiClient) -> None:
    release.install("--skip-crds", *TAKE)
    assert stored(api)["metadata"]["annotations"][KEEP] == "keep"


def test_an_upgrade_keeps_the_webhooks_certificate(
    release: Release, api: client.ApiClient, namespace: str
) -> None:
    release.install("--set", "webhook.enabled=true")
    core: Any = client.CoreV1Api(api)

    def secret() -> dict[str, str]:
        found: dict[str, str] = core.read_namespaced_secret("r-pdscale-webhook", namespace).data
        return found

    before = secret()
    release.upgrade("--set", "replicas=1")
    assert secret() == before
    registration: Any = client.AdmissionregistrationV1Api(api)
    found = registration.read_validating_webhook_configuration(f"r-pdscale-webhook.{namespace}")
    assert {w.client_config.ca_bundle for w in found.webhooks} == {before["ca.crt"]}


def dry_run(api: client.ApiClient, manifest: Manifest, *, namespace: str) -> None:
    """Unknown fields are refused, not dropped."""
    kind = dynamic.DynamicClient(api).resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
    place = {"namespace": namespace} if kind.namespaced else {}
    kind.server_side_apply(
        body={**manifest, "metadata": {**manifest["metadata"], **place}},
        **place,
        field_manager="check",
        force_conflicts=True,
        dry_run="All",
        query_params=[("fieldValidation", "Strict")],
    )


def test_the_api_server_takes_every_manifest_as_it_stands(api: client.ApiClient, namespace: str) -> None:
    """What needs other projects' CRDs is left out."""
    switched: dict[str, Any] = {"networkPolicy": {"enabled": True}, "podDisruptionBudget": {"enabled": True}}
    switched |= {"webhook": {"enabled": True}}
    switched |= {"prometheusServer": {"enabled": True, "storage": "1Gi"}, "dashboards": {"enabled": True}}
    base = manifests((ROOT / "install" / "base" / "install.yaml").read_text())
    policies = manifests((ROOT / "examples" / "network-policy.yaml").read_text())
    for manifest in [*base, *rendered(switched), *policies, *serving()]:
        dry_run(api, manifest, namespace=namespace)


def serving() -> Iterator[Manifest]:
    """What the chart of ServingDeployments makes of the values beside it; the CRD's rules judge, too."""
    for file in sorted(SERVING.glob("values-*.yaml")):
        yield from rendered(yaml.safe_load(file.read_text()), SERVING)


def test_the_check_itself_would_find_a_slip(api: client.ApiClient, namespace: str) -> None:
    (policy, _) = manifests((ROOT / "examples" / "network-policy.yaml").read_text())
    policy["spec"]["polycyTypes"] = policy["spec"].pop("policyTypes")
    with pytest.raises(ApiException, match="polycyTypes"):
        dry_run(api, policy, namespace=namespace)


def test_the_restricted_standard_admits_every_pod_of_the_chart(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.patch_namespace(namespace, {"metadata": {"labels": label}})
    with pytest.raises(ApiException, match="violates PodSecurity"):
        core.create_namespaced_pod(
            namespace, _pod("bad", {"containers": [{"name": "c", "image": "i"}]}), dry_run="All"
        )
    found = rendered({"prometheusServer": {"enabled": True, "storage": "1Gi"}})
    specs = {m["metadata"]["name"]: m["spec"]["template"]["spec"] for m in found if m["kind"] == "Deployment"}
    (test,) = manifests(_template("tests/ready.yaml"))
    for name, spec in (specs | {"test": test["spec"]}).items():
        # Admission asks for the account first, and none of the release is here.
        core.create_namespaced_pod(
            namespace, _pod(name, spec | {"serviceAccountName": "default"}), dry_run="All"
        )


def _pod(name: str, spec: dict[str, Any]) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _template(name: str) -> str:
    command = [str(program("helm")), "template", "pdscale", str(CHART), "--show-only", f"templates/{name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
