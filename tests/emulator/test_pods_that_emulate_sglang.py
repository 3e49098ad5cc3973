"""What the operator writes for SGLang starts an emulated SGLang: by our example, and by its own arguments."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import read_strictly
from pdscale.emulator.modes import Mode
from pdscale.emulator.options import parse
from pdscale.emulator.settings import Protocol, Settings
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults
from pdscale.perf.builtin import BUILTIN

EXAMPLE = Path(__file__).parents[2] / "examples" / "emulated-sglang.yaml"
PROFILE = BUILTIN["llama-2-70b-a100-tp8-2023"]
Json = dict[str, Any]


def pod(body: Json, role: str) -> Json:
    body = merged(body, {"metadata": {"uid": "u", "namespace": "team"}})
    found = render(read_strictly(body), profile=PROFILE, defaults=Defaults("router:test"))
    name = f"{body['metadata']['name']}-{role}"
    deployment = next(m for m in found if (m["kind"], m["metadata"]["name"]) == ("Deployment", name))
    template: Json = deployment["spec"]["template"]
    return template


def environment(template: Json) -> dict[str, str]:
    """As a kubelet resolves it."""
    found = {}
    for variable in template["spec"]["containers"][0]["env"]:
        path = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        label = re.fullmatch(r"metadata\.labels\['(.+)'\]", path)
        if label:
            found[variable["name"]] = template["metadata"]["labels"][label[1]]
        else:
            found[variable["name"]] = variable.get("value", "10.0.0.7")
    return found


def expanded(words: list[str], variables: Mapping[str, str]) -> list[str]:
    return [re.sub(r"\$\((\w+)\)", lambda m: variables[m[1]], word) for word in words]


def told(template: Json, *, before: tuple[str, ...] = ()) -> tuple[Settings, tuple[str, ...]]:
    engine, variables = template["spec"]["containers"][0], environment(template)
    words = expanded([*engine["command"], *engine["args"]], variables)
    return parse([*before, *words[3:]], variables)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_example_starts_an_engine_of_the_pods_role(mode: Mode) -> None:
    template = pod(yaml.safe_load(EXAMPLE.read_text()), mode.value)
    assert template["spec"]["containers"][0]["command"][:3] == ["python", "-m", "pdscale.emulator"]
    settings, ignored = told(template)
    assert ignored == ()
    assert settings.protocol is Protocol.SGLANG
    assert (settings.host, settings.port) == ("10.0.0.7", 8000)
    assert settings.profile is PROFILE
    own = settings.sglang
    assert (own.mode, own.decode_cache, own.may_switch) == (mode, True, True)
    assert (own.bootstrap_port, own.patience.waiting) == (8998, 30.0)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_operators_own_arguments_are_understood(mode: Mode) -> None:
    body = merged(GOOD, {"spec": {"engine": {"type": "SGLang", "image": "sglang:test"}}})
    settings, ignored = told(pod(body, mode.value), before=("--protocol", "sglang"))
    assert ignored == ("--tp-size",)
    assert settings.sglang.mode is mode
    assert settings.sglang.may_switch
    assert settings.served.prompt_tokens_details
