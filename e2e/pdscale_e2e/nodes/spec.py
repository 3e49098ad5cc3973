"""What a fake node looks like, and how the agent is told: a JSON file, one entry per node."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

GPU: Final = "nvidia.com/gpu"
GPU_TAINT: Final = {"key": GPU, "value": "present", "effect": "NoSchedule"}


class Mode(StrEnum):
    """What happens to a pod that is bound to the node.

    ``STATUS``: its status says that it runs. Thousands of pods cost next to nothing.
    ``PROCESS``: its containers' commands run as processes, with address, probes and volumes.
    """

    STATUS = "status"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node. Delays are seconds and hold for ``STATUS`` only; the real ones need no help.

    ``backoff_cap`` is the longest wait before a crashed container is restarted; a real kubelet's is
    300 s, longer than any test wants to wait. ``heartbeat`` is the seconds between two renewals of its Lease,
    and a sixth of those between two reports of its status: a thousand nodes need not talk as often as ten.
    """

    name: str
    mode: Mode = Mode.STATUS
    cpu: int = 32
    memory: str = "256Gi"
    pods: int = 250
    gpus: int = 0
    gpu_product: str = "NVIDIA-H100-80GB-HBM3"
    gpu_memory_mib: int = 81559
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] = ()
    start_delay: float = 0.0
    stop_delay: float = 0.0
    backoff_cap: float = 5.0
    heartbeat: float = 10.0

    def __post_init__(self) -> None:
        for name in ("cpu", "gpus", "start_delay", "stop_delay", "backoff_cap"):
            if getattr(self, name) < 0:
                raise ValueError(f"node {self.name}: {name} must be at least 0")
        if not 1 <= self.pods <= 250:
            # A node's /24 has 254 addresses, and the first is the node's own.
            raise ValueError(f"node {self.name}: pods must be in 1..250, got {self.pods}")

    @property
    def all_taints(self) -> list[dict[str, str]]:
        gpu_taint = [GPU_TAINT] if self.gpus else []
        return [dict(taint) for taint in (*gpu_taint, *self.taints)]


def dump(specs: Iterable[NodeSpec], path: Path) -> None:
    path.write_text(json.dumps([asdict(spec) for spec in specs], indent=1))


def load(path: Path) -> tuple[NodeSpec, ...]:
    return tuple(_parse(entry) for entry in json.loads(path.read_text()))


def _parse(entry: dict[str, Any]) -> NodeSpec:
    return NodeSpec(**{**entry, "mode": Mode(entry.get("mode", Mode.STATUS))})


def gpu_node(name: str, *, gpus: int = 8, **fields: Any) -> NodeSpec:
    """One node with GPUs; ``fields`` are ``NodeSpec``'s."""
    return NodeSpec(name, gpus=gpus, **fields)


def gpu_nodes(count: int, *, gpus: int, prefix: str = "gpu", **fields: Any) -> tuple[NodeSpec, ...]:
    """``count`` alike nodes: ``gpu-0``, ``gpu-1``, ..."""
    return tuple(gpu_node(f"{prefix}-{n}", gpus=gpus, **fields) for n in range(count))
