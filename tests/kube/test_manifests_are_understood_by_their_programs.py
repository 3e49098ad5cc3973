"""The arguments in our manifests are parsed by the very programs that they start."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import read
from pdscale.emulator import options
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults
from pdscale.perf.builtin import BUILTIN
from pdscale.router.arguments import parse_settings
from pdscale.router.meters import Place
from pdscale.router.policies import PolicyName, QueueOrder

PROFILE = BUILTIN["llama-2-70b-a100-tp8-2023"]
POD = {"POD_IP": "10.0.0.7", "POD_NAME": "chat-decode-x", "POD_NAMESPACE": "team"}
CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}

Json = dict[str, Any]


def containers(role: str, spec: Json | None = None) -> Json:
    body = merged(GOOD, {"metadata": {"uid": "u", "namespace": "team"}, "spec": spec or {}})
    found = render(read(body), profile=PROFILE, defaults=Defaults("pdscale/router:test"))
    deployments = {m["metadata"]["name"]: m for m in found if m["kind"] == "Deployment"}
    pod = deployments[f"chat-{role}"]["spec"]["template"]["spec"]
    return {c["name"]: c for c in [*pod.get("initContainers", []), *pod["containers"]]}


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """As a kubelet does it."""
    return re.sub(r"\$\((\w+)\)", lambda m: variables[m[1]], text)


def arguments(container: Json) -> list[str]:
    return [expanded(word, POD) for word in container["args"]]


@pytest.mark.parametrize("placement", list(PolicyName))
@pytest.mark.parametrize("role", ["decode", "router"])
def test_the_router_understands_its_arguments(role: str, placement: str) -> None:
    spec = {"router": {"placement": str(placement), "drainTimeout": "90s"}}
    found = parse_settings(arguments(containers(role, spec)["router"]), POD | CLUSTER)
    assert found.place is (Place.FRONT if role == "router" else Place.SIDECAR)
    assert (found.deployment, found.namespace, found.pod_name) == ("chat", "team", "chat-decode-x")
    assert (found.host, found.port, found.admin_port) == ("10.0.0.7", 8080, 9090)
    assert found.placement == placement
    assert (found.slo.ttft, found.slo.tpot, found.drain_timeout) == (2.0, 0.075, 90.0)
    assert found.profile == PROFILE
    if role != "router":
        assert found.engine_url == "http://10.0.0.7:8000"
        assert found.engine_type == "Emulated"


def test_the_router_hears_of_the_queue_and_the_threshold() -> None:
    chosen = {"placement": "Threshold", "thresholdTokens": 300, "queueOrder": "AMPDWindow"}
    spec = {"router": chosen | {"admit": 5, "rejectLate": True}}
    found = parse_settings(arguments(containers("prefill", spec)["router"]), POD | CLUSTER)
    assert (found.threshold_tokens, found.queue_order) == (300, QueueOrder.AMPD_WINDOW)
    assert (found.admit, found.reject_late) == (5, True)


def test_the_routers_defaults_are_those_of_the_resource() -> None:
    told = parse_settings(arguments(containers("prefill")["router"]), POD | CLUSTER)
    alone = ["--place", "sidecar", "--deployment", "chat", "--engine-url", "http://10.0.0.7:8000"]
    untold = parse_settings([*alone, "--profile", PROFILE.name], POD | CLUSTER)
    for name in ("placement", "threshold_tokens", "queue_order", "admit", "reject_late"):
        assert getattr(told, name) == getattr(untold, name)


def test_the_emulator_understands_its_arguments() -> None:
    container = containers("decode", {"engine": {"args": ["--start-up-seconds", "4"]}})["engine"]
    named = {v["name"]: v["value"] for v in container["env"] if "value" in v}
    environment = POD | {name: expanded(value, POD) for name, value in named.items()}
    found, ignored = options.parse(arguments(container), environment)
    assert ignored == ()
    assert (found.host, found.port) == ("10.0.0.7", 8000)
    assert found.side_channel_host == "10.0.0.7"
    assert found.profile == PROFILE
    assert found.served.models == (GOOD["spec"]["model"],)
    assert found.served.prompt_tokens_details
    assert found.transfer is not None
    assert found.start_up == 4


def test_both_read_a_profile_from_the_file_that_is_mounted(tmp_path: Path) -> None:
    body = merged(
        GOOD, {"metadata": {"uid": "u"}, "spec": {"profile": {"name": None, "configMap": {"name": "m"}}}}
    )
    manifests = render(read(body), profile=PROFILE, defaults=Defaults("pdscale/router:test"))
    written = next(m for m in manifests if m["kind"] == "ConfigMap")["data"]["profile.json"]
    assert json.loads(written)["name"] == PROFILE.name
    file = tmp_path / "profile.json"
    file.write_text(written)
    spec = {"profile": {"name": None, "configMap": {"name": "m"}}}
    here = {
        name: [str(file) if a == "/etc/pdscale/profile.json" else a for a in arguments(container)]
        for name, container in containers("decode", spec).items()
    }
    assert parse_settings(here["router"], POD | CLUSTER).profile == PROFILE
    assert options.parse(here["engine"], POD)[0].profile == PROFILE
