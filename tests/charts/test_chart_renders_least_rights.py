"""The chart: lint, schema, what it renders, and that the operator gets no right that it does not use."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

helm_python = pytest.importorskip("helm_python")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pdscale"
Json = dict[str, Any]

# Every call that the operator's code makes, as the API server's authorizer sees it.
USED = {
    ("pdscale.io", "servingdeployments"): {"get", "list", "watch", "patch"},
    ("pdscale.io", "servingdeployments/status"): {"patch"},
    ("pdscale.io", "servingdeployments/finalizers"): {"update"},
    ("apps", "deployments"): {"get", "list", "watch", "create", "patch"},
    ("apps", "deployments/scale"): {"get", "patch"},
    ("apps", "statefulsets/scale"): {"get", "patch"},
    ("apps", "replicasets"): {"list"},
    ("", "services"): {"get", "create", "patch"},
    ("", "serviceaccounts"): {"get", "create", "patch"},
    ("", "configmaps"): {"get", "create", "patch"},
    ("rbac.authorization.k8s.io", "rolebindings"): {"get", "create", "patch"},
    ("rbac.authorization.k8s.io", "clusterroles"): {"bind"},
    ("", "pods"): {"list", "watch", "patch"},
    ("events.k8s.io", "events"): {"create"},
    ("", "resourcequotas"): {"get"},
    ("autoscaling", "horizontalpodautoscalers"): {"list"},
    ("keda.sh", "scaledobjects"): {"list"},
}


def rendered(values: Json | None = None) -> list[Json]:
    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render(values or {}, name="pdscale", namespace="pdscale-system")
    return [
        document
        for name, text in sorted(files.items())
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def of_kind(kind: str, values: Json | None = None) -> list[Json]:
    return [m for m in rendered(values) if m["kind"] == kind]


def rights(role: Json) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def operator_role(kind: str = "ClusterRole", values: Json | None = None) -> Json:
    return next(m for m in of_kind(kind, values) if m["metadata"]["name"] == "pdscale")


def container() -> Json:
    found: Json = of_kind("Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_the_chart_passes_helms_own_lint() -> None:
    found = helm_python.lint(str(CHART), strict=True)
    # Severity 1 is advice, such as to draw an icon.
    assert [m for m in found["messages"] if m["severity"] > 1] == []
    assert found["errors"] == []


def test_every_value_has_a_comment_or_a_commented_parent_and_a_schema() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    top = [i for i, line in enumerate(lines) if re.match(r"^[A-Za-z]", line)]
    lone = [lines[i] for i in top if i == 0 or not re.match(r"^(#|[A-Za-z])", lines[i - 1])]
    commented_inside = [line for line in lone if lines[lines.index(line) + 1].strip().startswith("#")]
    assert lone == commented_inside
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert _missing(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "") == []


def _missing(values: Json, schema: Json, path: str) -> list[str]:
    """Values that the schema does not name."""
    found = []
    for key, value in values.items():
        inner = schema["properties"].get(key)
        if inner is None:
            found.append(f"{path}{key}")
        elif isinstance(value, dict) and "properties" in inner:
            assert inner["additionalProperties"] is False
            found += _missing(value, inner, f"{path}{key}.")
    return found


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"watchNamespace": ["a"]}, id="misspelt"),
        pytest.param({"image": {"pullPolicy": "Sometimes"}}, id="no_such_policy"),
        pytest.param({"adminPort": 80}, id="port_of_the_superuser"),
        pytest.param({"prometheus": {"scrapeInterval": "15"}}, id="no_unit"),
        pytest.param({"watchNamespaces": "team"}, id="no_list"),
        pytest.param({"log": {"level": "trace"}}, id="no_such_level"),
    ],
)
def test_a_slip_in_the_values_fails_at_install(values: Json) -> None:
    with (
        helm_python.Chart.load(str(CHART)) as chart,
        pytest.raises(helm_python.HelmValuesError),
    ):
        chart.validate_schema(chart.merge_values(values))


def test_default_values_obey_their_schema() -> None:
    with helm_python.Chart.load(str(CHART)) as chart:
        chart.validate_schema(chart.values)


def test_the_operator_has_exactly_the_rights_that_it_uses() -> None:
    assert rights(operator_role()) == USED


def test_the_scales_of_other_kinds_are_named_one_by_one() -> None:
    gangs = {"apiGroup": "leaderworkerset.x-k8s.io", "resources": ["leaderworkersets"]}
    found = rights(operator_role(values={"rbac": {"scaleTargets": [gangs]}}))
    assert found["leaderworkerset.x-k8s.io", "leaderworkersets/scale"] == {"get", "patch"}
    assert found["apps", "deployments/scale"] == {"patch"}, "of our own pools"
    assert ("apps", "statefulsets/scale") not in found


def test_no_role_has_a_wildcard() -> None:
    for values in ({}, {"watchNamespaces": ["a"]}):
        for kind in ("Role", "ClusterRole"):
            for role in of_kind(kind, values):
                for rule in role["rules"]:
                    assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_the_operator_may_bind_the_routers_role_and_no_other() -> None:
    rule = next(r for r in operator_role()["rules"] if r["verbs"] == ["bind"])
    assert rule["resourceNames"] == ["pdscale-router"]
    router = next(m for m in of_kind("ClusterRole") if m["metadata"]["name"] == "pdscale-router")
    assert rights(router) == {("", "pods"): {"get", "list", "watch"}}


def test_the_name_of_the_routers_role_is_the_same_everywhere() -> None:
    values = {"router": {"clusterRoleName": "other"}}
    role = operator_role(values=values)
    assert next(r for r in role["rules"] if r["verbs"] == ["bind"])["resourceNames"] == ["other"]
    assert "other" in [m["metadata"]["name"] for m in of_kind("ClusterRole", values)]
    env = of_kind("Deployment", values)[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "PDSCALE_ROUTER_CLUSTER_ROLE", "value": "other"} in env


def test_named_namespaces_get_a_role_each_and_no_right_beyond_them() -> None:
    values = {"watchNamespaces": ["a", "b"]}
    roles = [r for r in of_kind("Role", values) if r["metadata"]["name"] == "pdscale"]
    assert [(r["metadata"]["namespace"], rights(r)) for r in roles] == [("a", USED), ("b", USED)]
    assert of_kind("ClusterRoleBinding", values) == []
    assert "pdscale" not in [m["metadata"]["name"] for m in of_kind("ClusterRole", values)]
    for binding in of_kind("RoleBinding", values):
        assert binding["subjects"][0]["namespace"] == "pdscale-system"


def test_two_operators_elect_a_writer_by_one_lease_that_both_may_change() -> None:
    assert of_kind("Deployment")[0]["spec"]["replicas"] == 2
    assert {"name": "PDSCALE_LEASE", "value": "pdscale-system/pdscale"} in container()["env"]
    (role,) = (r for r in of_kind("Role") if r["metadata"]["name"] == "pdscale-leader")
    assert role["metadata"]["namespace"] == "pdscale-system"
    assert [(r["verbs"], r.get("resourceNames")) for r in role["rules"]] == [
        (["create"], None),
        (["get", "patch"], ["pdscale"]),
    ]


def test_the_operator_is_started_probed_and_restricted() -> None:
    found = container()
    assert (found["command"], found["args"]) == (["python", "-m", "pdscale"], ["operator"])
    assert found["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
    assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    context = found["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_the_environment_is_what_the_settings_read() -> None:
    settings = pytest.importorskip("pdscale.settings")
    env = {v["name"]: v["value"] for v in container()["env"] if "value" in v}
    known = {f"PDSCALE_{name.upper()}" for name in settings._READERS}
    assert set(env) <= known
    found = settings.from_environment(env)
    assert found.router_image == "pdscale/router:0.1.0"
    assert found.scrape_interval == 15


def test_a_pod_monitor_scrapes_routers_engines_and_the_operator() -> None:
    assert of_kind("PodMonitor") == []
    found = of_kind("PodMonitor", {"podMonitor": {"enabled": True, "labels": {"release": "prom"}}})[0]
    assert [e["port"] for e in found["spec"]["podMetricsEndpoints"]] == ["admin", "engine"]
    assert found["metadata"]["labels"]["release"] == "prom"


def test_the_chart_carries_the_committed_crd() -> None:
    with helm_python.Chart.load(str(CHART)) as chart:
        names = [yaml.safe_load(crd["data"])["metadata"]["name"] for crd in chart.crds]
    assert names == ["servingdeployments.pdscale.io"]


def test_notes_tell_the_next_command() -> None:
    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render({}, name="pdscale", namespace="pdscale-system")
    notes = next(text for name, text in files.items() if name.endswith("NOTES.txt"))
    assert "kubectl -n pdscale-system rollout status deployment/pdscale" in notes
    named = re.search(r"kubectl apply -f (\S+)", notes)
    assert named is not None
    assert (ROOT / named[1]).exists()
