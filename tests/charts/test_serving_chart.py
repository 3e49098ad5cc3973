"""The chart of ServingDeployments: its examples are those of ``examples/``, complete, and read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.bad_specs import BAD, GOOD, Bad
from pdscale.api.translate import builtin_profile, policy, profile_from_text, read_strictly
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults
from pdscale.perf.profile import Profile

helm_python = pytest.importorskip("helm_python")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pdscale-serving"
FILES = {"vllm": "vllm.yaml", "sglang": "sglang.yaml"}
Json = dict[str, Any]


def values(name: str) -> Json:
    found: Json = yaml.safe_load((CHART / f"values-{name}.yaml").read_text())
    return found


def rendered(given: Json) -> list[Json]:
    with helm_python.Chart.load(str(CHART)) as chart:
        chart.validate_schema(chart.merge_values(given))
        files = chart.render(given, name="release", namespace="team")
    texts = (text for name, text in sorted(files.items()) if name.endswith(".yaml"))
    return [m for text in texts for m in yaml.safe_load_all(text) if m]


def notes(given: Json) -> str:
    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render(given, name="release", namespace="team")
    (found,) = (text for name, text in files.items() if name.endswith("NOTES.txt"))
    return str(found)


def content(manifests: list[Json]) -> dict[tuple[str, str], Any]:
    """Specs and profiles by kind and name: what is meant, without what Helm adds and how JSON is laid out."""
    return {
        (m["kind"], m["metadata"]["name"]): m.get("spec") or {k: json.loads(v) for k, v in m["data"].items()}
        for m in manifests
    }


def profile_of(manifests: list[Json]) -> Profile:
    (deployment,) = (m for m in manifests if m["kind"] == "ServingDeployment")
    source = deployment["spec"]["profile"]
    if "name" in source:
        return builtin_profile(source["name"])
    (held,) = (m for m in manifests if m["kind"] == "ConfigMap")
    assert held["metadata"]["name"] == source["configMap"]["name"]
    return profile_from_text(held["data"]["profile.json"], where="chart")


@pytest.mark.parametrize("name", list(FILES))
def test_values_give_what_the_example_of_that_engine_says(name: str) -> None:
    example = [m for m in yaml.safe_load_all((ROOT / "examples" / FILES[name]).read_text()) if m]
    assert content(rendered(values(name))) == content(example)


@pytest.mark.parametrize("name", list(FILES))
def test_what_is_rendered_is_read_strictly_and_planned_for(name: str) -> None:
    manifests = rendered(values(name))
    (body,) = (m for m in manifests if m["kind"] == "ServingDeployment")
    found = read_strictly(body)
    assert policy(found.spec, profile_of(manifests)).gpu_budget == body["spec"]["gpuBudget"]
    assert {m["metadata"]["namespace"] for m in manifests} == {"team"}


@pytest.mark.parametrize("name", list(FILES))
def test_pods_of_the_examples_have_all_that_pd_needs(name: str) -> None:
    manifests = rendered(values(name))
    found = read_strictly(next(m for m in manifests if m["kind"] == "ServingDeployment"))
    children = render(found, profile=profile_of(manifests), defaults=Defaults("pdscale/router:test"))
    pools = [c for c in children if c["kind"] == "Deployment" and "nvidia.com/gpu" in json.dumps(c)]
    assert len(pools) == 2
    for pool in pools:
        pod = pool["spec"]["template"]["spec"]
        (engine,) = (c for c in pod["containers"] if c["name"] == "engine")
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(engine)
        assert int(engine["resources"]["limits"]["nvidia.com/gpu"]) == found.spec.prefill.gpus_per_replica
        assert {"name": "shm", "mountPath": "/dev/shm"} in engine["volumeMounts"]
        assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod["volumes"]
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
        words = " ".join(engine["args"])
        if name == "vllm":
            assert {"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "value": "$(POD_IP)"} in engine["env"]
            assert '"kv_connector":"NixlConnector"' in words
            assert '"bidirectional_kv_xfer":true' in words
        else:
            assert "--disaggregation-mode" in words
            assert "--disaggregation-bootstrap-port" in words


def test_the_chart_passes_helms_own_lint() -> None:
    for name in FILES:
        found = helm_python.lint(str(CHART), values=values(name), strict=True)
        assert [m for m in found["messages"] if m["severity"] > 1] == []
        assert found["errors"] == []


def test_several_deployments_are_one_release_with_labels_of_their_own() -> None:
    one = {"spec": GOOD["spec"], "labels": {"team": "search"}, "annotations": {"pdscale.io/approve": "x"}}
    found = rendered({"deployments": {"a": one, "b": {"spec": GOOD["spec"]}}})
    assert [m["metadata"]["name"] for m in found] == ["a", "b"]
    assert [m["metadata"]["labels"].get("team") for m in found] == ["search", None]
    assert found[0]["metadata"]["annotations"] == {"pdscale.io/approve": "x"}
    assert all(m["spec"] == GOOD["spec"] for m in found)


def test_a_release_of_nothing_says_which_values_to_take() -> None:
    with pytest.raises(helm_python.HelmError, match=r"values-vllm\.yaml"):
        rendered({})


@pytest.mark.parametrize("name", list(FILES))
def test_notes_name_the_objects_and_the_next_commands(name: str) -> None:
    told = notes(values(name))
    (deployment,) = values(name)["deployments"]
    assert f"kubectl -n team wait servingdeployment/{deployment} --for condition=Ready" in told
    assert f"kubectl pdscale explain {deployment} --namespace team" in told


def slips() -> list[Any]:
    """What the CRD's own schema refuses; rules in CEL, and keys of lists, are the API server's to judge."""
    return [
        pytest.param(bad, id=bad.id)
        for bad in BAD
        if bad.model != bad.server and "spec" in bad.patch and "Duplicate value" not in bad.server
    ]


@pytest.mark.parametrize("bad", slips())
def test_what_the_crd_refuses_is_refused_before_anything_is_sent(bad: Bad) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=r"/deployments/chat/spec"):
        rendered({"deployments": {"chat": {"spec": bad.body["spec"]}}})


@pytest.mark.parametrize(
    ("slip", "complaint"),
    [
        pytest.param({"spec": {**GOOD["spec"], "gpuBugdet": 8}}, "'gpuBugdet' not allowed", id="field"),
        pytest.param({"spec": {**GOOD["spec"], "slo": {"ttft": "1s"}}}, "tpot", id="missing"),
        pytest.param({"spec": GOOD["spec"], "replicas": 2}, "'replicas' not allowed", id="beside_the_spec"),
        pytest.param({"labels": {}}, "spec", id="no_spec"),
    ],
)
def test_a_slip_is_refused_by_its_name(slip: Json, complaint: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=complaint):
        rendered({"deployments": {"chat": slip}})
