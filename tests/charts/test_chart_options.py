"""Every switch of the chart: what it adds, what it leaves alone, and what a slip in it says."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pdscale.controller.webhook import PATH

helm_python = pytest.importorskip("helm_python")

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pdscale"
Json = dict[str, Any]
Render = Callable[..., list[Json]]
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
INFERENCE_POOL = {"servingDeployment": "chat", "namespace": "team", "endpointPicker": {"name": "epp"}}
OWN = "http://prometheus-operated.monitoring:9090"
DIGEST = f"sha256:{'0' * 64}"


def of_kind(found: list[Json], kind: str) -> list[Json]:
    return [m for m in found if m["kind"] == kind]


def operator_pod(found: list[Json]) -> Json:
    (deployment,) = (d for d in of_kind(found, "Deployment") if d["metadata"]["name"] == "pdscale")
    pod: Json = deployment["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize(
    ("switch", "added"),
    [
        pytest.param(
            {"podMonitor": {"enabled": True}, "prometheusServer": {"enabled": True}},
            {"PodMonitor"},
            id="pod_monitor",
        ),
        pytest.param({"prometheusRule": {"enabled": True}}, {"PrometheusRule"}, id="rules"),
        pytest.param({"dashboards": {"enabled": True}}, {"ConfigMap"}, id="dashboards"),
        pytest.param({"podDisruptionBudget": {"enabled": True}}, {"PodDisruptionBudget"}, id="disruption"),
        pytest.param({"networkPolicy": {"enabled": True}}, {"NetworkPolicy"}, id="network_policy"),
        pytest.param({"crds": {"manage": True}}, {"CustomResourceDefinition"}, id="crds"),
        pytest.param({"inferencePools": [INFERENCE_POOL]}, {"InferencePool"}, id="inference_pools"),
    ],
)
def test_a_switch_adds_its_kind_and_changes_nothing_else(
    render: Render, switch: Json, added: set[str]
) -> None:
    plain, more = render(), render(**switch)
    assert {m["kind"] for m in more if m not in plain} == added
    assert [m for m in plain if m not in more] == []


def test_a_managed_crd_is_the_committed_one_and_survives_an_uninstall(render: Render) -> None:
    (found,) = of_kind(render(crds={"manage": True}), "CustomResourceDefinition")
    annotations = found["metadata"].pop("annotations")
    assert annotations.pop("helm.sh/resource-policy") == "keep"
    if annotations:
        found["metadata"]["annotations"] = annotations
    assert found == yaml.safe_load((ROOT / "crds" / "pdscale.io_servingdeployments.yaml").read_text())


def test_who_may_create_nothing_cluster_wide_can_install_for_a_namespace(render: Render) -> None:
    values: Json = {"watchNamespaces": ["team"], "aggregateRoles": False}
    found = render(**values, router={"createClusterRole": False}, prometheusServer={"enabled": True})
    assert {m["kind"] for m in found} & CLUSTER_WIDE == set()
    assert {m["metadata"]["namespace"] for m in found} == {"team", "pdscale-system"}


def test_a_digest_wins_over_the_tag(render: Render) -> None:
    image = {"tag": "main", "digest": DIGEST}
    pod = operator_pod(render(image=image, router={"image": image}))
    assert pod["containers"][0]["image"] == f"pdscale/operator@{DIGEST}"
    env = {v["name"]: v.get("value") for v in pod["containers"][0]["env"]}
    assert env["PDSCALE_ROUTER_IMAGE"] == f"pdscale/router@{DIGEST}"


def test_pods_go_where_the_values_say(render: Render) -> None:
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule",
    }
    values: Json = {
        "priorityClassName": "system-cluster-critical",
        "tolerations": [{"key": "control", "operator": "Exists"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "topologySpreadConstraints": [spread],
        "imagePullSecrets": [{"name": "registry"}],
    }
    pod = operator_pod(render(**values))
    assert {key: pod[key] for key in values} == values
    (usual,) = operator_pod(render())["topologySpreadConstraints"]
    assert usual["topologyKey"] == "kubernetes.io/hostname"


def test_certificates_of_ones_own_reach_the_operator(render: Render) -> None:
    volume = {"name": "certificates", "configMap": {"name": "ca"}}
    mount = {"name": "certificates", "mountPath": "/certificates", "readOnly": True}
    env = {"name": "SSL_CERT_FILE", "value": "/certificates/ca.crt"}
    pod = operator_pod(render(extraEnv=[env], extraVolumes=[volume], extraVolumeMounts=[mount]))
    assert pod["volumes"] == [volume]
    assert pod["containers"][0]["volumeMounts"] == [mount]
    assert env in pod["containers"][0]["env"]


WEBHOOK_KINDS = {"Secret", "Service", "ValidatingWebhookConfiguration"}


def webhooks(found: list[Json]) -> list[Json]:
    (configuration,) = of_kind(found, "ValidatingWebhookConfiguration")
    asked: list[Json] = configuration["webhooks"]
    return asked


def test_the_webhook_adds_three_objects_and_a_port_with_the_certificate_that_is_trusted(
    render: Render,
) -> None:
    plain, more = render(), render(webhook={"enabled": True})
    assert {m["kind"] for m in more if m not in plain} == WEBHOOK_KINDS | {"Deployment"}
    (secret,) = of_kind(more, "Secret")
    (service,) = (s for s in of_kind(more, "Service") if s["metadata"]["name"] == "pdscale-webhook")
    for webhook in webhooks(more):
        assert webhook["clientConfig"] == {
            "caBundle": secret["data"]["ca.crt"],
            "service": {"name": "pdscale-webhook", "namespace": "pdscale-system", "path": PATH},
        }
        assert (webhook["failurePolicy"], webhook["sideEffects"]) == ("Ignore", "None")
    (operator,) = operator_pod(more)["containers"]
    assert {"name": service["spec"]["ports"][0]["targetPort"], "containerPort": 9443, "protocol": "TCP"} in (
        operator["ports"]
    )
    env = {v["name"]: v.get("value") for v in operator["env"]}
    (mount,) = operator["volumeMounts"]
    assert mount["mountPath"] == env["PDSCALE_WEBHOOK_CERTIFICATES"]
    (volume,) = operator_pod(more)["volumes"]
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]


def test_with_a_certificate_of_ones_own_helm_makes_none(render: Render) -> None:
    own = {"enabled": True, "secretName": "mine", "annotations": {"cert-manager.io/inject-ca-from": "a/b"}}
    found = render(webhook=own)
    assert of_kind(found, "Secret") == []
    assert all("caBundle" not in w["clientConfig"] for w in webhooks(found))
    (volume,) = operator_pod(found)["volumes"]
    assert volume["secret"]["secretName"] == "mine"
    pem = "-----BEGIN CERTIFICATE-----\nMII\n"
    (trusted, *_) = webhooks(render(webhook={**own, "caBundle": pem}))
    assert base64.b64decode(trusted["clientConfig"]["caBundle"]).decode() == pem


def test_the_webhook_is_asked_about_the_watched_namespaces_alone(render: Render) -> None:
    asked = webhooks(render(webhook={"enabled": True}, watchNamespaces=["a", "b"]))
    (expression,) = asked[0]["namespaceSelector"]["matchExpressions"]
    assert expression == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}
    assert all("namespaceSelector" not in w for w in webhooks(render(webhook={"enabled": True})))


def test_a_network_policy_leaves_the_webhooks_port_open(render: Render) -> None:
    peer = {"podSelector": {}}
    values: Json = {"networkPolicy": {"enabled": True, "scrapers": [peer]}}
    (policy,) = of_kind(render(**values, webhook={"enabled": True}), "NetworkPolicy")
    assert {"ports": [{"port": "webhook", "protocol": "TCP"}]} in policy["spec"]["ingress"]
    (closed,) = of_kind(render(**values), "NetworkPolicy")
    assert len(closed["spec"]["ingress"]) == 1


def test_a_network_policy_names_who_may_scrape_and_never_locks_the_test_out(render: Render) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    (everybody,) = of_kind(render(networkPolicy={"enabled": True}), "NetworkPolicy")
    (named,) = of_kind(render(networkPolicy={"enabled": True, "scrapers": [peer]}), "NetworkPolicy")
    assert "from" not in everybody["spec"]["ingress"][0]
    assert everybody["spec"]["policyTypes"] == ["Ingress"]
    test_pod = {"app.kubernetes.io/name": "pdscale-test", "app.kubernetes.io/instance": "pdscale"}
    prometheus = {"app.kubernetes.io/name": "pdscale-prometheus", "app.kubernetes.io/instance": "pdscale"}
    assert named["spec"]["ingress"][0]["from"] == [
        peer,
        {"podSelector": {"matchLabels": test_pod}},
        {"podSelector": {"matchLabels": prometheus}},
    ]
    (limited,) = of_kind(render(networkPolicy={"enabled": True, "egress": [{"to": [peer]}]}), "NetworkPolicy")
    assert limited["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_helms_test_asks_the_service_that_is_there(render: Render) -> None:
    (pod,) = of_kind(render(adminPort=9191), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert "http://pdscale-metrics.pdscale-system:9191" in pod["spec"]["containers"][0]["args"][0]
    compile(pod["spec"]["containers"][0]["args"][0], "test", "exec")
    assert of_kind(render(helmTest={"enabled": False}), "Pod") == []
    assert of_kind(render(metricsService={"enabled": False}), "Pod") == []


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        pytest.param({"networkPolicy": {"enable": True}}, "'enable' not allowed", id="misspelt_inside"),
        pytest.param({"prometheusSever": {}}, "'prometheusSever' not allowed", id="misspelt"),
        pytest.param({"image": {"digest": "latest"}}, "/image/digest", id="no_digest"),
        pytest.param({"crds": {"manage": "yes"}}, "/crds/manage", id="no_boolean"),
        pytest.param({"podDisruptionBudget": {"maxUnavailable": "half"}}, "maxUnavailable", id="no_share"),
        pytest.param({"prometheusServer": {"storage": "10 GB"}}, "/prometheusServer/storage", id="no_size"),
        pytest.param({"prometheusServer": {"enabled": "maybe"}}, "/prometheusServer/enabled", id="no_switch"),
        pytest.param({"prometheus": {"url": "prometheus:9090"}}, "/prometheus/url", id="no_scheme"),
        pytest.param({"prometheusServer": {"retention": "2 days"}}, "retention", id="no_duration"),
        pytest.param({"extraEnv": [{"value": "x"}]}, "/extraEnv/0", id="no_name"),
    ],
)
def test_a_slip_is_refused_by_its_name(render: Render, values: Json, complaint: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=complaint):
        render(**values)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        pytest.param({}, "kubectl apply --server-side --force-conflicts -f crds/", id="crds_by_hand"),
        pytest.param({"crds": {"manage": True}}, "Helm upgrades the CRD", id="crds_by_helm"),
        pytest.param({}, "helm -n pdscale-system test pdscale", id="test"),
        pytest.param({}, "port-forward service/pdscale-prometheus 9090", id="small_prometheus"),
        pytest.param({"prometheus": {"url": OWN}}, f"measured by {OWN}", id="ones_own"),
        pytest.param({"prometheusServer": {"enabled": False}}, "has to name its Prometheus", id="none"),
    ],
)
def test_notes_tell_what_these_values_mean(values: Json, told: str) -> None:
    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name="pdscale", namespace="pdscale-system")
    (notes,) = (text for name, text in files.items() if name.endswith("NOTES.txt"))
    assert told in notes
