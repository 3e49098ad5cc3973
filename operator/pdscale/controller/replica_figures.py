"""What one replica would take with it: its open requests, live sessions and KV, as its sidecar tells.

Read from the metrics server, where the sidecars' figures are anyhow: no other way through the network is
needed. They are as old as a scrape. That is enough to choose by, and to tell when a drain is over: whatever
arrived since is finished by the pod itself, which drains once more when it is deleted.

Pods are selected by their Deployments. Named one by one, a hundred of them made a URL of 9.9 kB, more than
proxies in front of a metrics server take (nginx: 8 kB).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pdscale.prom.queries import of_pools

KEY: Final = "figure"  # label that tells figures apart: ``open/POD``
_SERIES: Final = {
    "open": ("sum", "pdscale_router_inflight_requests"),
    "sessions": ("max", "pdscale_router_live_sessions"),
    "kv": ("max", "pdscale_router_kv_usage_ratio"),
}


@dataclass(frozen=True, slots=True)
class ReplicaFigures:
    """``open`` requests, live ``sessions``, ``kv`` in use from 0 to 1 where the engine has told."""

    open: float
    sessions: float
    kv: float | None = None


def query(namespace: str, name: str) -> str:
    """All figures of both pools' pods at once, told apart by the label ``KEY``."""
    where = of_pools(namespace, name)
    return " or ".join(
        f'label_replace({how} by (pod) ({series}{where}), "{KEY}", "{figure}/$1", "pod", "(.+)")'
        for figure, (how, series) in _SERIES.items()
    )


def read(answer: Mapping[str, float]) -> dict[str, ReplicaFigures]:
    """By pod. A sidecar that tells its sessions and had no request yet has none open."""
    told: dict[str, dict[str, float]] = {}
    for key, value in answer.items():
        figure, _, pod = key.partition("/")
        told.setdefault(pod, {})[figure] = value
    return {
        pod: ReplicaFigures(known.get("open", 0.0), known["sessions"], known.get("kv"))
        for pod, known in told.items()
        if "sessions" in known
    }
