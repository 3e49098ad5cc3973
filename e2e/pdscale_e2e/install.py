"""Puts the chart on a cluster as Helm would, and takes it off again.

Helm's own library renders the templates; applying is the API's server-side apply, so that the operator
runs under exactly the rights that the chart grants.
"""

import json
import subprocess
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import helm_python
import yaml
from kubernetes import client, config, dynamic
from kubernetes.client.exceptions import ApiException

from pdscale_e2e.binaries import program
from pdscale_e2e.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "charts" / "pdscale"
SERVING: Final = ROOT / "charts" / "pdscale-serving"
NAMESPACE: Final = "pdscale-system"
RELEASE: Final = "pdscale"
OPERATOR: Final = "app.kubernetes.io/name=pdscale-operator"

Manifest = dict[str, Any]


def api_client(kubeconfig: Path) -> client.ApiClient:
    """A client of its own, so that nothing depends on a global configuration."""
    made: client.ApiClient = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
    return made


def manifests(text: str) -> list[Manifest]:
    return [m for m in yaml.safe_load_all(text) if m]


def crds() -> list[Manifest]:
    return [m for path in sorted((CHART / "crds").glob("*.yaml")) for m in manifests(path.read_text())]


def rendered(values: dict[str, Any] | None = None, chart: Path = CHART) -> list[Manifest]:
    """What ``helm template`` prints for these values, without notes and tests."""
    with helm_python.Chart.load(str(chart)) as loaded:
        files = loaded.render(values or {}, name=RELEASE, namespace=NAMESPACE)
    found = (m for path, text in sorted(files.items()) if path.endswith(".yaml") for m in manifests(text))
    return [m for m in found if "helm.sh/hook" not in m["metadata"].get("annotations", {})]


def apply(
    api: client.ApiClient, wanted: Iterable[Manifest], *, namespace: str, manager: str = "install"
) -> None:
    """Create or update every manifest; namespaced ones without a namespace go to ``namespace``."""
    known = dynamic.DynamicClient(api)  # type: ignore[no-untyped-call]
    for manifest in wanted:
        kind = known.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        where = manifest["metadata"].get("namespace", namespace) if kind.namespaced else None
        kind.server_side_apply(body=manifest, namespace=where, field_manager=manager, force_conflicts=True)


def installed(kubeconfig: Path) -> bool:
    """Whether a cluster, which may have been kept, has an operator already."""
    api = api_client(kubeconfig)
    try:
        apps: Any = client.AppsV1Api(api)
        return bool(apps.list_namespaced_deployment(NAMESPACE).items)
    finally:
        api.close()  # type: ignore[no-untyped-call]


def helm_install(kubeconfig: Path, values: dict[str, Any]) -> None:
    """``helm upgrade --install``, as a user would; a cluster that was kept has the release already."""
    given = json.dumps(values)
    place = ("--namespace", NAMESPACE, "--create-namespace", "--kubeconfig", str(kubeconfig))
    _helm(
        "upgrade",
        "--install",
        RELEASE,
        str(CHART),
        *place,
        "--wait",
        "--timeout",
        "120s",
        "--values",
        "-",
        text=given,
    )


def helm_uninstall(kubeconfig: Path) -> None:
    """``helm uninstall``: everything but the CRDs."""
    _helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig), "--wait")


def helm_test(kubeconfig: Path) -> None:
    """``helm test``, the chart's own look at a release; raises where its pod fails or never ends."""
    _helm("test", RELEASE, "--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig), "--timeout", "120s")


def _helm(*arguments: str, text: str | None = None) -> None:
    command = [str(program("helm")), *arguments]
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"helm {arguments[0]} failed: {done.stderr.strip()}")


def install(kubeconfig: Path, values: dict[str, Any] | None = None) -> None:
    """CRDs, then the release, then wait until the operator is ready."""
    api = api_client(kubeconfig)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    apply(api, [namespace, *crds()], namespace=NAMESPACE)
    extensions = client.ApiextensionsV1Api(api)
    for crd in crds():
        name = crd["metadata"]["name"]
        eventually(partial(_established, extensions, name), within=30, what=f"CRD {name} is established")
    apply(api, rendered(values), namespace=NAMESPACE)
    wait_for_operator(api)


def wait_for_operator(api: client.ApiClient, within: float = 60) -> None:
    apps: Any = client.AppsV1Api(api)

    def ready() -> bool:
        found = apps.list_namespaced_deployment(NAMESPACE, label_selector=OPERATOR).items
        return bool(found) and all(
            (d.status.ready_replicas or 0) >= (d.spec.replicas or 0) > 0 for d in found
        )

    eventually(ready, within=within, what=f"the operator's Deployment in {NAMESPACE} is ready")


def lease_holder(api: client.ApiClient) -> str:
    """Who writes: the operator's pod, and a part that differs from process to process."""
    coordination: Any = client.CoordinationV1Api(api)
    holder: str = coordination.read_namespaced_lease(RELEASE, NAMESPACE).spec.holder_identity
    return holder


def pod_of(holder: str) -> str:
    return holder.rpartition("_")[0]


def _established(extensions: Any, name: str) -> bool:
    try:
        crd = extensions.read_custom_resource_definition(name)
    except ApiException:
        return False
    return any(c.type == "Established" and c.status == "True" for c in crd.status.conditions or ())


def examples(*names: str) -> Iterator[Manifest]:
    for name in names:
        yield from manifests((ROOT / "examples" / name).read_text())
