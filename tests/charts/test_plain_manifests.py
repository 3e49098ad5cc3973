"""What is installed without Helm: in step with the chart, complete, and buildable by kustomize."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("helm_python")
generator = pytest.importorskip("install.__main__")

ROOT = Path(__file__).parents[2]
INSTALL = ROOT / "install"
FOLDERS = sorted(f.parent.relative_to(INSTALL) for f in INSTALL.rglob("kustomization.yaml"))
Json = dict[str, Any]


def documents(text: str) -> list[Json]:
    return [d for d in yaml.safe_load_all(text) if d]


def base() -> list[Json]:
    return documents((INSTALL / "base" / "install.yaml").read_text())


def built(folder: str) -> list[Json]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl builds kustomizations, and is not on the PATH")
    command = ["kubectl", "kustomize", str(INSTALL / folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return documents(done.stdout)


def deployment(manifests: list[Json]) -> Json:
    (found,) = (m for m in manifests if m["kind"] == "Deployment" and m["metadata"]["name"] == "pdscale")
    return found


def environment(manifests: list[Json]) -> dict[str, str]:
    (container,) = deployment(manifests)["spec"]["template"]["spec"]["containers"]
    return {v["name"]: v.get("value", "") for v in container["env"]}


def test_what_is_committed_is_what_is_rendered(capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_a_file_that_was_edited_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("charts", "install"):
        shutil.copytree(ROOT / place, tmp_path / place, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    edited = tmp_path / "install" / "base" / "install.yaml"
    edited.write_text(edited.read_text().replace("replicas: 2", "replicas: 3"))
    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("install/base/install.yaml differs")
    assert generator.main(["--write"]) == 0
    assert generator.main(["--check"]) == 0


def test_one_file_holds_the_namespace_the_crd_and_the_operator_in_this_order() -> None:
    kinds = [m["kind"] for m in base()]
    assert kinds[:3] == ["Namespace", "CustomResourceDefinition", "ServiceAccount"]
    assert kinds.count("Deployment") == 2
    assert base()[1]["metadata"]["name"] == "servingdeployments.pdscale.io"


def test_nothing_says_that_helm_manages_it() -> None:
    text = (INSTALL / "base" / "install.yaml").read_text()
    text += (INSTALL / "monitoring" / "monitoring.yaml").read_text()
    assert "helm" not in text.lower()


def test_the_namespace_enforces_the_restricted_pod_security_standard() -> None:
    assert base()[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_monitoring_adds_what_needs_other_crds_and_grafana() -> None:
    found = documents((INSTALL / "monitoring" / "monitoring.yaml").read_text())
    assert sorted(m["kind"] for m in found) == ["ConfigMap"] * 3 + ["PodMonitor", "PrometheusRule"]


@pytest.mark.parametrize("folder", [str(f) for f in FOLDERS])
def test_every_kustomization_builds(folder: str) -> None:
    assert built(folder)


def test_who_applies_them_needs_no_prometheus() -> None:
    names = {(m["kind"], m["metadata"]["name"]) for m in base()}
    assert {("Deployment", "pdscale-prometheus"), ("Service", "pdscale-prometheus")} <= names
    assert environment(base())["PDSCALE_PROMETHEUS_URL"] == "http://pdscale-prometheus.pdscale-system:9090"


@pytest.mark.parametrize("folder", ["overlays/own-prometheus", "overlays/one-namespace"])
def test_who_has_one_gets_nothing_of_the_small_prometheus(folder: str) -> None:
    found = built(folder)
    assert [m["metadata"]["name"] for m in found if "prometheus" in m["metadata"]["name"]] == []
    assert environment(found)["PDSCALE_PROMETHEUS_URL"] == "http://prometheus-operated.monitoring:9090"


def test_one_namespace_has_no_right_beyond_it() -> None:
    found = built("overlays/one-namespace")
    assert environment(found)["PDSCALE_NAMESPACES"] == "team-a"
    assert [m for m in found if m["kind"] == "ClusterRoleBinding"] == []
    bound = [(m["metadata"]["namespace"], m["roleRef"]["name"]) for m in found if m["kind"] == "RoleBinding"]
    assert sorted(bound) == [("pdscale-system", "pdscale-leader"), ("team-a", "pdscale")]


def test_a_registry_of_ones_own_serves_all_images() -> None:
    found = built("overlays/private-registry")
    pods = [m["spec"]["template"]["spec"] for m in found if m["kind"] == "Deployment"]
    assert len(pods) == 2
    assert all(pod["imagePullSecrets"] == [{"name": "registry"}] for pod in pods)
    assert all(c["image"].startswith("registry.example/") for pod in pods for c in pod["containers"])
    (container,) = deployment(found)["spec"]["template"]["spec"]["containers"]
    (told,) = {environment(found)["PDSCALE_ROUTER_IMAGE"]}
    assert container["image"].startswith("registry.example/pdscale/operator:")
    assert told.startswith("registry.example/pdscale/router:")
    version = yaml.safe_load((ROOT / "charts" / "pdscale" / "Chart.yaml").read_text())["appVersion"]
    assert {container["image"].rpartition(":")[2], told.rpartition(":")[2]} == {version}
