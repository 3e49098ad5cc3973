"""What the operator would start as an engine container: a real vLLM, on a CPU and with a tiny model.

The command and the variables are those of the rendered pod, resolved as the node agent resolves them. A user
of the custom resource can say everything that a CPU needs beside: it is in ``engine.args``.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pdscale.api.v1alpha1 import ServingDeployment
from pdscale.kube.manifests_engine import KV_TRANSFER
from pdscale.kube.manifests_pod import Defaults, Pods
from pdscale.model.pools import Role
from pdscale_e2e.nodes.environment import PodFacts, build, command_line, inherited

SERVED: Final = "tiny"
MAX_MODEL_LEN: Final = 4096
BLOCK: Final = 32  # the CPU's attention wants multiples of it
# 32 contexts. Engines describe each of their blocks to NIXL, and each block of every engine they meet: with
# the 32768 that 1 GiB would hold of this model, a start takes 8 s more.
BLOCKS: Final = 4096
STEP: Final = 512  # tokens; a long prompt takes several steps, in which it can be seen, killed and left
# Short enough for a test to see pinned blocks go: vLLM has 30 s, and the operator 60 s for decode engines.
SHORT_LEASES: Final[Mapping[str, int]] = {"kv_lease_duration": 18, "decoder_kv_blocks_ttl": 18}


class NoEngine(RuntimeError):
    """There is no real engine on this machine; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Vllm:
    """The command, and the folder of a model."""

    command: Path
    model: Path


def find_vllm(environ: Mapping[str, str] = os.environ) -> Vllm:
    named = environ.get("PDSCALE_VLLM") or shutil.which("vllm", path=environ.get("PATH"))
    if not named or not Path(named).exists():
        raise NoEngine(f"no vLLM here: PDSCALE_VLLM is {named!r}, and no vllm is on the PATH")
    model = environ.get("PDSCALE_TINY_MODEL", "")
    if not (Path(model) / "config.json").exists():
        raise NoEngine(
            f"no model here: PDSCALE_TINY_MODEL must name a folder with config.json, got {model!r}"
        )
    return Vllm(Path(named), Path(model))


def transfer_config(**extra: Any) -> dict[str, Any]:
    """What the operator renders, with the KV in the CPU's memory; ``extra`` goes to the connector's own."""
    config: dict[str, Any] = json.loads(KV_TRANSFER)
    config["kv_buffer_device"] = "cpu"
    config["kv_connector_extra_config"] |= extra
    return config


def cpu_arguments(transfer: Mapping[str, Any]) -> list[str]:
    """What ``engine.args`` holds beside the operator's own arguments; the last one of a kind wins."""
    return [
        *("--served-model-name", SERVED),
        *("--dtype", "float32"),
        *("--max-model-len", str(MAX_MODEL_LEN)),
        *("--block-size", str(BLOCK)),
        *("--num-gpu-blocks-override", str(BLOCKS)),
        *("--max-num-batched-tokens", str(STEP)),
        "--enforce-eager",
        *("--kv-transfer-config", json.dumps(transfer, separators=(",", ":"))),
    ]


def serving(vllm: Vllm, *, name: str = "real", transfer: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A ServingDeployment of such engines."""
    arguments = cpu_arguments(transfer_config() if transfer is None else transfer)
    pool = {"minReplicas": 1, "maxReplicas": 2, "gpusPerReplica": 1}
    return {
        "apiVersion": "pdscale.io/v1alpha1",
        "kind": "ServingDeployment",
        "metadata": {"name": name},
        "spec": {
            "model": str(vllm.model),
            "engine": {"type": "vLLM", "image": "vllm", "args": arguments},
            "slo": {"ttft": "5s", "tpot": "1s"},
            "profile": {"name": "llama-2-70b-a100-tp8-2023"},
            "prefill": pool,
            "decode": pool,
            "gpuBudget": 4,
            "prometheus": {"url": "http://10.89.0.1:9090"},
        },
    }


@dataclass(frozen=True, slots=True)
class Start:
    """One process: its words and all of its variables."""

    argv: list[str]
    env: dict[str, str]


def engine_start(vllm: Vllm, address: str, *, transfer: Mapping[str, Any]) -> Start:
    """The engine container of a prefill pod at ``address``; a decode pod's is the same."""
    manifest = serving(vllm, transfer=transfer)
    parent = ServingDeployment.model_validate(manifest, extra="forbid")
    pod = Pods(parent, Defaults(router_image="router")).of_pool(Role.PREFILL, {})
    pod["metadata"] |= {"name": f"engine-{address}", "namespace": "default", "uid": address}
    container = pod["spec"]["containers"][0]
    variables = build(container, pod, PodFacts(address, address), found={}, base=inherited())
    program, *words = command_line(container, variables)
    if program != "vllm":
        raise ValueError(f"the operator must render the command vllm, got {program!r}")
    return Start([str(vllm.command), *words], variables)
