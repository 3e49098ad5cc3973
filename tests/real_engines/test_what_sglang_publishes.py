"""SGLang's own request models and argument parser take what the router sends and the operator renders.

``PDSCALE_SGLANG`` names a Python that can import ``sglang`` (0.5.23 was used; its wheel, torch and pydantic
are enough, no GPU is needed). Without it there is nothing to ask.
"""

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.engines.sglang import SGLang
from pdscale.kube.manifests_pod import Defaults, Pods
from pdscale.kube.pools import ROLE_LABEL
from pdscale.model.pools import Role
from pdscale_e2e.nodes.environment import PodFacts, build, command_line

EXAMPLE = Path(__file__).parents[2] / "examples" / "sglang.yaml"
ASKED = """
import argparse, json, sys
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest, CompletionRequest
from sglang.srt.server_args import ServerArgs
asked = json.load(sys.stdin)
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
parsed = [vars(parser.parse_args(argv)) for argv in asked["argv"]]
models = {"chat": ChatCompletionRequest, "text": CompletionRequest}
bodies = [models[kind].model_validate(body).model_dump(mode="json") for kind, body in asked["bodies"]]
json.dump({"parsed": parsed, "bodies": bodies}, sys.stdout, default=str)
"""
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "stream": True}
TEXT = {"model": "m", "prompt": [1, 2, 3], "max_tokens": 4}


def arguments(role: Role) -> list[str]:
    """What SGLang reads in a pod of the example, after ``python3 -m sglang.launch_server``."""
    documents = yaml.safe_load_all(EXAMPLE.read_text())
    (manifest,) = (d for d in documents if d["kind"] == "ServingDeployment")
    parent = ServingDeployment.model_validate(manifest, extra="forbid")
    pod = Pods(parent, Defaults(router_image="router")).of_pool(role, {ROLE_LABEL: str(role)})
    pod["metadata"] |= {"name": "pod", "namespace": "default", "uid": "1"}
    container = pod["spec"]["containers"][0]
    variables = build(container, pod, PodFacts("10.0.0.7", "10.0.0.1"), found={}, base={})
    return command_line(container, variables)[3:]


@pytest.fixture(scope="module")
def answered() -> dict[str, Any]:
    python = os.environ.get("PDSCALE_SGLANG")
    if not python:
        pytest.skip("PDSCALE_SGLANG names no Python that can import sglang")
    legs: list[tuple[str, Any]] = []
    engine = SGLang()
    for kind, body in (("chat", CHAT), ("text", TEXT)):
        room = engine.meeting("10.0.0.7", random.Random(1))
        assert room is not None
        legs += [(kind, engine.prefill_leg(body, room)), (kind, engine.decode_leg(body, room))]
    asked = {"argv": [arguments(role) for role in Role], "bodies": legs}
    ran = subprocess.run([python, "-c", ASKED], input=json.dumps(asked), stdout=subprocess.PIPE, text=True)
    assert ran.returncode == 0
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return {**found, "sent": legs}


def test_its_parser_reads_the_arguments_of_both_roles(answered: dict[str, Any]) -> None:
    for role, parsed in zip(Role, answered["parsed"], strict=True):
        assert parsed["disaggregation_mode"] == str(role)
        assert (parsed["host"], parsed["disaggregation_bootstrap_port"]) == ("10.0.0.7", 8998)
        switches = ("enable_pd_role_switch", "enable_metrics", "enable_cache_report")
        assert [parsed[name] for name in switches] == [True] * 3


def test_its_models_keep_the_room_of_each_leg(answered: dict[str, Any]) -> None:
    for (_, sent), read in zip(answered["sent"], answered["bodies"], strict=True):
        for name in ("bootstrap_host", "bootstrap_port", "bootstrap_room"):
            assert read[name] == sent[name]
