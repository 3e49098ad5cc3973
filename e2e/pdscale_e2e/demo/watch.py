"""Samples what the cluster does while the trace plays: pods, plans, forecast, local share."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from kubernetes import client

from pdscale_e2e.demo.stage import NAMESPACE, Stage

ROLES: Final = ("prefill", "decode")
LOCAL_SHARE: Final = (
    '(sum(increase(pdscale_router_placements_total{{{pods},placement="local"}}[30s])) or vector(0))'
    " / sum(increase(pdscale_router_placements_total{{{pods}}}[30s]))"
)


@dataclass(frozen=True, slots=True)
class Pool:
    """One role at one instant; ``gpus`` counts what all its bound pods hold, terminating ones too."""

    desired: int
    ready: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One ServingDeployment at one instant, seconds after the start of the trace."""

    at: float
    prefill: Pool
    decode: Pool
    forecast: float | None
    local_share: float | None
    trail: str

    @property
    def gpus(self) -> int:
        return self.prefill.gpus + self.decode.gpus


@dataclass(slots=True)
class Watcher:
    """Samples every second until cancelled; a failed look leaves a gap and never stops the demo."""

    stage: Stage
    names: Sequence[str]
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    missed: int = 0

    async def run(self, started: float) -> None:
        async with httpx.AsyncClient(timeout=3) as http:
            while True:
                tick = time.monotonic()
                try:
                    for name in self.names:
                        sample = await self._look(http, name, time.monotonic() - started)
                        self.samples.setdefault(name, []).append(sample)
                except (OSError, httpx.HTTPError, client.ApiException):
                    self.missed += 1
                await asyncio.sleep(max(0.0, tick + 1 - time.monotonic()))

    async def _look(self, http: httpx.AsyncClient, name: str, at: float) -> Sample:
        found, pods = await asyncio.to_thread(self._read, name)
        status = found.get("status", {})
        spec = found["spec"]
        pools = {
            role: _pool(
                status.get(role, {}), [p for p in pods if _role(p) == role], spec[role]["gpusPerReplica"]
            )
            for role in ROLES
        }
        trail = " → ".join(step["reason"] for step in status.get("plan", {}).get("trail", ()))
        return Sample(
            at=at,
            prefill=pools["prefill"],
            decode=pools["decode"],
            forecast=status.get("forecast", {}).get("requestRate"),
            local_share=await self._local_share(http, name),
            trail=trail,
        )

    def _read(self, name: str) -> tuple[Any, list[Any]]:
        custom: Any = client.CustomObjectsApi(self.stage.api)
        found = custom.get_namespaced_custom_object(
            "pdscale.io", "v1alpha1", NAMESPACE, "servingdeployments", name
        )
        pods = client.CoreV1Api(self.stage.api).list_namespaced_pod(
            NAMESPACE, label_selector=f"pdscale.io/deployment={name}"
        )
        return found, pods.items

    async def _local_share(self, http: httpx.AsyncClient, name: str) -> float | None:
        """Rounds of the last half minute that decode replicas prefilled themselves."""
        query = LOCAL_SHARE.format(pods=f'namespace="{NAMESPACE}",pod=~"{name}-decode-.*"')
        answer = await http.get(f"{self.stage.prometheus}/api/v1/query", params={"query": query})
        result = answer.json().get("data", {}).get("result", [])
        share = float(result[0]["value"][1]) if result else float("nan")
        return share if share == share else None


def _role(pod: Any) -> str:
    return str((pod.metadata.labels or {}).get("pdscale.io/role"))


def _pool(status: dict[str, int], pods: Sequence[Any], gpus: int) -> Pool:
    bound = [p for p in pods if p.spec.node_name and p.status.phase in ("Pending", "Running")]
    return Pool(desired=status.get("desired", 0), ready=status.get("ready", 0), gpus=gpus * len(bound))


def gpu_hours(samples: Sequence[Sample]) -> float:
    """Area under the GPUs that were held."""
    area = sum(a.gpus * (b.at - a.at) for a, b in itertools.pairwise(samples))
    return area / 3600


def resizes(samples: Sequence[Sample], role: str) -> tuple[int, int]:
    """How often the pool was made larger and smaller."""
    desired = [getattr(s, role).desired for s in samples]
    steps = [b - a for a, b in itertools.pairwise(desired)]
    return sum(s > 0 for s in steps), sum(s < 0 for s in steps)
