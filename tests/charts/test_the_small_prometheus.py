"""The chart's small Prometheus: when it comes, what it finds, and that the operator asks it."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

Json = dict[str, Any]
Render = Callable[..., list[Json]]
SMALL = "http://pdscale-prometheus.pdscale-system:9090"
OWN = "http://prometheus-operated.monitoring:9090"


def of_kind(found: list[Json], kind: str) -> list[Json]:
    return [m for m in found if m["kind"] == kind]


def named(found: list[Json], kind: str, name: str) -> Json:
    (one,) = (m for m in of_kind(found, kind) if m["metadata"]["name"] == name)
    return one


def test_the_small_prometheus_finds_all_pods_that_scaling_lives_on(render: Render) -> None:
    found = render(prometheusServer={"enabled": True}, prometheus={"scrapeInterval": "5s"})
    (config,) = (m["data"] for m in of_kind(found, "ConfigMap") if "prometheus.yml" in m["data"])
    settings = yaml.safe_load(config["prometheus.yml"])
    assert settings["global"]["scrape_interval"] == "5s"
    (job,) = settings["scrape_configs"]
    kept = {r["source_labels"][0]: r["regex"] for r in job["relabel_configs"] if r.get("action") == "keep"}
    assert kept["__meta_kubernetes_pod_label_app_kubernetes_io_name"] == "pdscale|pdscale-operator"
    assert kept["__meta_kubernetes_pod_container_port_name"] == "admin|engine"
    assert job["honor_labels"] is True
    assert set(settings["rule_files"]) <= set(config)
    assert yaml.safe_load(config["alerts.yaml"])["groups"]


def test_the_small_prometheus_sees_only_the_namespaces_that_are_served(render: Render) -> None:
    found = render(prometheusServer={"enabled": True}, watchNamespaces=["a", "b"])
    (config,) = (m["data"] for m in of_kind(found, "ConfigMap") if "prometheus.yml" in m["data"])
    (job,) = yaml.safe_load(config["prometheus.yml"])["scrape_configs"]
    places = ["a", "b", "pdscale-system"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": places}}]
    roles = [r for r in of_kind(found, "Role") if r["metadata"]["name"] == "pdscale-prometheus"]
    assert [r["metadata"]["namespace"] for r in roles] == places
    assert all(
        r["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
        for r in roles
    )


@pytest.mark.parametrize(
    ("values", "brought", "asked"),
    [
        pytest.param({}, True, SMALL, id="nothing_said"),
        pytest.param({"prometheus": {"url": OWN}}, False, OWN, id="ones_own"),
        pytest.param({"podMonitor": {"enabled": True}}, False, "", id="of_the_prometheus_operator"),
        pytest.param({"prometheusServer": {"enabled": False}}, False, "", id="off"),
        pytest.param(
            {"podMonitor": {"enabled": True}, "prometheusServer": {"enabled": True}}, True, SMALL, id="on"
        ),
        pytest.param(
            {"prometheus": {"url": OWN}, "prometheusServer": {"enabled": True}}, True, OWN, id="both"
        ),
        pytest.param(
            {"prometheus": {"url": None}, "prometheusServer": {"enabled": False}},
            False,
            "",
            id="values_of_before",
        ),
    ],
)
def test_a_prometheus_comes_with_the_chart_unless_there_is_one(
    render: Render, values: Json, brought: bool, asked: str
) -> None:
    found = render(**values)
    servers = [d for d in of_kind(found, "Deployment") if d["metadata"]["name"] == "pdscale-prometheus"]
    assert bool(servers) == brought
    assert [m for m in found if "prometheus" in m["metadata"]["name"]] == [] or brought
    (operator,) = named(found, "Deployment", "pdscale")["spec"]["template"]["spec"]["containers"]
    env = {v["name"]: v.get("value") for v in operator["env"]}
    assert env["PDSCALE_PROMETHEUS_URL"] == asked


def test_the_address_that_the_operator_asks_is_that_of_the_small_prometheus(render: Render) -> None:
    found = named(render(), "Service", "pdscale-prometheus")
    (port,) = found["spec"]["ports"]
    meta = found["metadata"]
    assert f"http://{meta['name']}.{meta['namespace']}:{port['port']}" == SMALL
    (server,) = (
        d
        for d in of_kind(render(), "Deployment")
        if found["spec"]["selector"].items() <= d["spec"]["template"]["metadata"]["labels"].items()
    )
    (container,) = server["spec"]["template"]["spec"]["containers"]
    assert port["targetPort"] in [p["name"] for p in container["ports"]]


def test_series_outlive_the_pod_where_a_size_is_given(render: Render) -> None:
    assert of_kind(render(prometheusServer={"enabled": True}), "PersistentVolumeClaim") == []
    (claim,) = of_kind(
        render(prometheusServer={"enabled": True, "storage": "10Gi", "storageClassName": "fast"}),
        "PersistentVolumeClaim",
    )
    assert claim["spec"]["resources"]["requests"] == {"storage": "10Gi"}
    assert claim["spec"]["storageClassName"] == "fast"
