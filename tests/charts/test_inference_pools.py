"""InferencePools of the chart: of the released v1 fields, and of pods that the operator really labels so.

The fields are those of the API reference of Gateway API Inference Extension 1.x: ``selector.matchLabels``,
``targetPorts[].number`` and ``endpointPickerRef`` with ``name``, ``port.number``, ``failureMode``. Whether a
gateway takes them is not tested here.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import read
from pdscale.kube.manifests import render as render_children
from pdscale.kube.manifests_parts import HTTP, HTTP_PORT, PICKER_PORT
from pdscale.kube.manifests_pod import Defaults
from pdscale.perf.builtin import BUILTIN

pytest.importorskip("helm_python")

Json = dict[str, Any]
Render = Callable[..., list[Json]]
POOL = {"servingDeployment": "chat", "namespace": "team", "endpointPicker": {"name": "epp"}}


def pool(render: Render, **further: Any) -> Json:
    (found,) = (m for m in render(inferencePools=[{**POOL, **further}]) if m["kind"] == "InferencePool")
    return found


def children(kind: str, **router: Any) -> dict[str, Json]:
    """What the operator makes, by name."""
    body = merged(GOOD, {"metadata": {"uid": "u-1", "namespace": "team"}, "spec": {"router": router}})
    found = render_children(
        read(body), profile=BUILTIN["llama-2-70b-a100-tp8-2023"], defaults=Defaults("router:test")
    )
    return {m["metadata"]["name"]: m for m in found if m["kind"] == kind}


def pods(**router: Any) -> dict[str, Json]:
    """Pod templates of the operator's Deployments, by name."""
    return {name: m["spec"]["template"] for name, m in children("Deployment", **router).items()}


def selected(manifest: Json) -> set[str]:
    wanted = manifest["spec"]["selector"]["matchLabels"].items()
    return {name for name, pod in pods().items() if wanted <= pod["metadata"]["labels"].items()}


def test_a_pool_has_the_fields_of_v1_and_no_others(render: Render) -> None:
    found = pool(render, endpointPicker={"name": "epp", "port": 9003, "failureMode": "FailOpen"})
    assert found["apiVersion"] == "inference.networking.k8s.io/v1"
    assert found["metadata"]["namespace"] == "team"
    assert set(found["spec"]) == {"selector", "targetPorts", "endpointPickerRef"}
    assert found["spec"]["endpointPickerRef"] == {
        "name": "epp",
        "port": {"number": 9003},
        "failureMode": "FailOpen",
    }


@pytest.mark.parametrize(
    ("replicas", "names"), [("Decode", {"chat-decode"}), ("All", {"chat-decode", "chat-prefill"})]
)
def test_a_pool_selects_replicas_and_never_the_front_router(
    render: Render, replicas: str, names: set[str]
) -> None:
    assert selected(pool(render, replicas=replicas)) == names


def test_a_pool_leads_to_the_router_beside_the_engine(render: Render) -> None:
    (target,) = pool(render)["spec"]["targetPorts"]
    assert target == {"number": HTTP_PORT}
    (sidecar,) = pods()["chat-decode"]["spec"]["initContainers"]
    assert {"name": HTTP, "containerPort": HTTP_PORT, "protocol": "TCP"} in sidecar["ports"]


def test_a_pool_without_a_picker_of_its_own_leads_to_the_front_s(render: Render) -> None:
    without = {name: value for name, value in POOL.items() if name != "endpointPicker"}
    (found,) = (m for m in render(inferencePools=[without]) if m["kind"] == "InferencePool")
    picker = found["spec"]["endpointPickerRef"]
    ports = {p["port"]: p for p in children("Service", endpointPicker=True)[picker["name"]]["spec"]["ports"]}
    reached = ports[picker["port"]["number"]]
    assert (reached["name"], reached["appProtocol"]) == ("grpc-ext-proc", "kubernetes.io/h2c")
    (container,) = pods(endpointPicker=True)["chat-router"]["spec"]["containers"]
    (listening,) = (p for p in container["ports"] if p["name"] == reached["targetPort"])
    assert listening["containerPort"] == PICKER_PORT
    told = container["args"][container["args"].index("--endpoint-picker-port") + 1]
    assert told == str(PICKER_PORT)


def test_the_route_on_the_page_leads_to_the_pool_on_the_page(render: Render) -> None:
    page = (Path(__file__).parents[2] / "docs" / "install.md").read_text()
    texts = re.findall(r"```yaml\n(.*?)```", page, flags=re.S)
    (values,) = (yaml.safe_load(t) for t in texts if "inferencePools" in t and "endpointPicker" not in t)
    (route,) = (yaml.safe_load(t) for t in texts if "kind: HTTPRoute" in t)
    (found,) = (m for m in render(**values) if m["kind"] == "InferencePool")
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    told = (f"{backend['group']}/v1", backend["kind"], backend["name"], route["metadata"]["namespace"])
    metadata = found["metadata"]
    assert told == (found["apiVersion"], found["kind"], metadata["name"], metadata["namespace"])


def test_nothing_picks_unless_it_is_asked_to() -> None:
    (container,) = pods()["chat-router"]["spec"]["containers"]
    assert "--endpoint-picker-port" not in container["args"]
    assert [p["name"] for p in children("Service")["chat"]["spec"]["ports"]] == ["http"]
    (sidecar,) = pods(endpointPicker=True)["chat-decode"]["spec"]["initContainers"]
    assert "--endpoint-picker-port" not in sidecar["args"]


def test_pickers_tell_roles_by_their_own_label() -> None:
    assert {n: p["metadata"]["labels"].get("llm-d.ai/role") for n, p in pods().items()} == {
        "chat-prefill": "prefill",
        "chat-decode": "decode",
        "chat-router": None,
    }
