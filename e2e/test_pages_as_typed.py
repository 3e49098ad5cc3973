"""Pages about installing, operating, upgrading and removing, typed in the order of a release's life.

The reader has a cluster whose nodes run pods' commands as processes, ``kubectl`` and ``helm``; the operator
runs under exactly the rights that were installed. ``tests/docs`` looks that no block of these pages is left
out; the quick start on kind has a test of its own.
"""

import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import pytest
from kubernetes import client

from pdscale_e2e.binaries import program
from pdscale_e2e.cluster import Cluster
from pdscale_e2e.install import NAMESPACE, ROOT, apply, crds, wait_for_operator
from pdscale_e2e.nodes.spec import Mode, NodeSpec, gpu_nodes
from pdscale_e2e.page import READER, Block, Shell, blocks, inline
from pdscale_e2e.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes, pytest.mark.bare]

PAGES: Final = {
    name: (ROOT / path).read_text()
    for name, path in {
        "readme": "README.md",
        "install": "docs/install.md",
        "operations": "docs/operations.md",
        "upgrade": "docs/upgrade.md",
        "reference": "docs/reference.md",
    }.items()
}
KINDS: Final = ("kubectl ", "helm ")
LEFT_OUT: Final = {
    "kubectl pdscale approve ": "nothing is proposed; tests/controller approves",
    "kubectl logs ": "no node of this provider serves logs",
    "helm test ": "needs the cluster's DNS: e2e/product/test_helm_test.py",
}
INSTALL: Final = f"helm install pdscale charts/pdscale --namespace {NAMESPACE} --create-namespace"
SERVES: Final = "kubectl pdscale dashboard"
SERVED: Final = """
{command} > served &
until grep --quiet http:// served; do sleep 0.2; done
kill $!
"""
CONTEXT: Final = "kubectl config set-context --current --namespace"
LEFT_BEHIND: Final = {
    "customresourcedefinition.apiextensions.k8s.io/servingdeployments.pdscale.io",
    "apiservice.apiregistration.k8s.io/v1alpha1.pdscale.io",  # the API server's own, of the CRD
}
CLEAN: Final = f"""
helm uninstall pdscale --namespace {NAMESPACE} --ignore-not-found
kubectl delete namespace {NAMESPACE} --ignore-not-found
"""
ALL: Final = (
    "kubectl get $(kubectl api-resources --verbs=list --output name | grep --invert-match ^events"
    " | paste --serial --delimiters ,) --all-namespaces --output name"
)


class Reader:
    """Somebody at a shell, in a folder that looks like the repository and holds ``values.yaml`` besides."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self._shell, self._folder = shell, folder

    def types(self, page: str, beginning: str) -> str:
        """The one block of the page with a command that begins so."""
        (found,) = (
            b for b in blocks(PAGES[page]) if b.run_by == READER and f"\n{beginning}" in f"\n{b.script}"
        )
        return self._shell.run(found, within=120)

    def types_what_the_text_names(self, page: str) -> list[str]:
        """Commands inside of sentences, with the object's name in the place of NAME."""
        named = [c.replace("NAME", "chat") for c in inline(PAGES[page], KINDS)]
        return [self.says(command) for command in named if not command.startswith(tuple(LEFT_OUT))]

    def says(self, command: str) -> str:
        """What serves until it is interrupted is, as soon as it says where."""
        script = SERVED.format(command=command) if command.startswith(SERVES) else f"{command}\n"
        return self._shell.run(Block(0, script), within=120)

    def writes_values(self, beginning: str) -> None:
        (found,) = (
            t for t in re.findall(r"```yaml\n(.*?)```", PAGES["install"], re.S) if t.startswith(beginning)
        )
        (self._folder / "values.yaml").write_text(found)


@pytest.fixture
def reader(cluster: Cluster, api: client.ApiClient, namespace: str, tmp_path: Path) -> Iterator[Reader]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on the PATH")
    for name in ("charts", "crds", "examples", "install"):
        (tmp_path / name).symlink_to(ROOT / name)
    config = tmp_path / "kubeconfig"
    shutil.copy(cluster.kubeconfig, config)
    path = os.pathsep.join([str(program("helm").parent), str(ROOT / ".venv" / "bin"), os.environ["PATH"]])
    workers = [
        NodeSpec("pages-cpu", mode=Mode.PROCESS),
        *gpu_nodes(2, gpus=8, prefix="pages", mode=Mode.PROCESS),
    ]
    added = cluster.add_nodes(workers)
    environ = dict(os.environ) | {"PATH": path, "KUBECONFIG": str(config)}
    with Shell(cwd=tmp_path, environ=environ) as shell:
        found = Reader(shell, tmp_path)
        found.says(f"{CONTEXT} {namespace}")
        yield found
    with Shell(cwd=tmp_path, environ=environ) as shell:  # a command that fails ends its shell
        shell.run(Block(0, CLEAN), within=120)
    added.stop()
    apply(api, crds(), namespace=namespace, manager="helm")


def test_a_release_lives_and_goes_as_the_pages_say(reader: Reader, api: client.ApiClient) -> None:
    before = set(reader.says(ALL).splitlines())
    reader.types("readme", "helm install")
    wait_for_operator(api)
    reader.says("kubectl wait servingdeployment/chat --for condition=Ready --timeout 90s")
    assert "1/1" in reader.types("readme", "kubectl get sdep")
    assert "prefill" in reader.types("operations", "kubectl pdscale explain")
    reader.types_what_the_text_names("reference")
    reader.types_what_the_text_names("operations")
    reader.types("upgrade", "kubectl apply --server-side --force-conflicts")
    reader.types_what_the_text_names("upgrade")  # up, by the values that are there, and back
    reader.types("upgrade", "helm upgrade")
    wait_for_operator(api)
    reader.types("install", "kubectl delete servingdeployments --all --all-namespaces\nhelm")
    # What an object owned goes after it.
    eventually(
        lambda: left_over(set(reader.says(ALL).splitlines()) - before) <= LEFT_BEHIND,
        within=60,
        what="nothing but the definition is left",
    )


def left_over(names: Collection[str]) -> set[str]:
    return {name for name in names if not name.startswith("+")}  # what the shell echoes


def test_an_object_that_was_left_without_an_operator_is_freed_as_the_page_says(
    reader: Reader, api: client.ApiClient
) -> None:
    reader.types("install", f"{INSTALL}\nkubectl")
    reader.says("kubectl apply -f examples/emulated.yaml")
    reader.says("kubectl wait servingdeployment/chat --for condition=Ready --timeout 90s")
    reader.says(f"helm uninstall pdscale --namespace {NAMESPACE} --wait")
    reader.says("kubectl delete servingdeployment chat --wait=false")
    reader.types_what_the_text_names("install")  # frees the object, and deletes the CRD
    assert "/servingdeployments." not in reader.says("kubectl get crds --output name")


def test_a_release_for_a_cluster_with_a_prometheus_brings_none(reader: Reader) -> None:
    reader.types("install", f"{INSTALL} \\\n  --set prometheus.url=")
    named = reader.says(f"kubectl get all --namespace {NAMESPACE} --output name")
    assert "deployment.apps/pdscale\n" in named
    assert "prometheus" not in named
    reader.says(f"helm uninstall pdscale --namespace {NAMESPACE} --wait")


def test_serving_deployments_are_a_release_of_their_own(reader: Reader) -> None:
    reader.types("upgrade", "kubectl apply --server-side --force-conflicts")
    reader.types("install", "helm install llama charts/pdscale-serving")
    found = reader.says("kubectl get servingdeployments,configmaps --output name")
    assert "servingdeployment.pdscale.io/llama-70b\n" in found
    assert "servingdeployment.pdscale.io/qwen3-32b\n" in found
    assert "configmap/qwen3-32b-profile\n" in found
    reader.types("install", "helm uninstall llama qwen")
    assert "llama" not in reader.says("kubectl get servingdeployments --output name")


def test_a_release_for_some_namespaces_needs_no_right_on_the_cluster(
    reader: Reader, api: client.ApiClient
) -> None:
    reader.writes_values("watchNamespaces: [team-a]")
    reader.types("upgrade", "kubectl apply --server-side --force-conflicts")
    reader.says(f"kubectl create namespace team-a; kubectl create namespace {NAMESPACE}")
    try:
        reader.types("install", "helm install pdscale charts/pdscale --namespace pdscale-system --skip-crds")
        assert "ClusterRole" not in reader.says(f"helm get manifest pdscale --namespace {NAMESPACE}")
        wait_for_operator(api)
    finally:
        reader.says(f"helm uninstall pdscale --namespace {NAMESPACE}; kubectl delete namespace team-a")


def test_the_operator_comes_and_goes_without_helm_as_the_page_says(
    reader: Reader, api: client.ApiClient
) -> None:
    reader.types("install", "kubectl apply --server-side -f install/base/install.yaml")
    reader.types("install", "kubectl apply --server-side -k install/overlays/private-registry")
    wait_for_operator(api)
    reader.types("install", "kubectl delete --filename install/base/install.yaml")
    assert "clusterrole.rbac.authorization.k8s.io/pdscale" not in reader.says(ALL)
