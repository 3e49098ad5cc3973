"""An operator on trial: a process for one namespace, and all that it depends on in the hand of a test.

Its requests to the API server go through a proxy, its metrics come from a server that can be spoiled, and it
can be killed and started again within a moment.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pdscale_e2e.dial_server import OUTPUT, OUTPUT_SQUARED, PROMPT, PROMPT_SQUARED
from pdscale_e2e.fault_proxy import FaultProxy
from pdscale_e2e.objects import Objects, gpus_held, on_nodes, serving
from pdscale_e2e.operator_beside import ForkedOperator, metrics_of
from pdscale_e2e.waiting import eventually, looking

STATUS: Final[Mapping[str, Any]] = on_nodes("status")
ADMIN: Final = ("10.89.0.20", 9090)
MARK: Final = "pdscale.io/draining"
BUDGET: Final = 6


class MetricsServer(Protocol):
    """What it tells: ``measures`` by name at any instant, ``vector`` to instant queries; how it fails."""

    url: str
    measures: Any
    vector: list[dict[str, Any]] | None
    fault: Any


@dataclass(slots=True)
class Trial:
    """One namespace, an operator for it alone, what stands between it and the API server, and its metrics."""

    objects: Objects
    proxy: FaultProxy
    operator: ForkedOperator
    metrics: MetricsServer
    open_requests: float = 0.0

    def deployed(self, name: str, *, decode: int, **changes: Any) -> None:
        """Created, Ready, with metrics."""
        self.objects.create(self.manifest(name, decode=decode, **changes))
        self.settled(name, decode, within=60)

    def manifest(self, name: str, *, decode: int, **changes: Any) -> dict[str, Any]:
        """So many decode replicas, whatever the load says."""
        return serving(
            name,
            prefill={**STATUS, "maxReplicas": 1},
            decode={**STATUS, "minReplicas": decode, "maxReplicas": decode},
            **{"gpuBudget": BUDGET, "prometheus": {"url": self.metrics.url}, **changes},
        )

    def bound(self, name: str, decode: int) -> None:
        self.objects.patch(name, decode={"minReplicas": decode, "maxReplicas": decode})

    def settled(self, name: str, decode: int, *, within: float = 30) -> None:
        eventually(
            lambda: self.is_settled(name, decode),
            within=within,
            what=f"{name} has settled at {decode} decode replicas",
        )

    def is_settled(self, name: str, decode: int) -> bool:
        """The pool has the size, in the scale, in its pods and in the status, and nobody drains any more."""
        self.tell()
        status = self.objects.get(name).get("status", {})
        pool = status.get("decode", {})
        told = {c["type"]: c["status"] for c in status.get("conditions", ())}
        return (
            self.objects.replicas(name)[1] == decode == len(self.objects.pods(name, "decode"))
            and (pool.get("ready"), pool.get("current"), pool.get("draining")) == (decode, decode, 0)
            and (told.get("Ready"), told.get("MetricsAvailable")) == ("True", "True")
        )

    def tell(self) -> None:
        """Each decode replica of the namespace tells of live sessions; the youngest of the fewest."""
        pods = self.objects.pods_of_role("decode")
        pods.sort(key=lambda p: p.metadata.creation_timestamp)
        told = [("sessions", float(len(pods) - n), p) for n, p in enumerate(pods)]
        told += [("open", self.open_requests, p) for p in pods]
        self.metrics.vector = [
            {"metric": {"figure": f"{figure}/{p.metadata.name}"}, "value": [0, repr(value)]}
            for figure, value, p in told
        ]

    def marked(self, name: str) -> set[str]:
        pods = self.objects.pods(name, "decode")
        return {p.metadata.name for p in pods if MARK in (p.metadata.annotations or {})}

    def load(self, rate: float) -> None:
        lengths = {"prompt_tokens": PROMPT, "uncached_tokens": PROMPT, "output_tokens": OUTPUT}
        squares = {"uncached_tokens_squared": PROMPT_SQUARED, "output_tokens_squared": OUTPUT_SQUARED}
        per_request = {"request_rate": 1.0, "completed": 1.0, **lengths, **squares}
        self.metrics.measures = {name: rate * of_each for name, of_each in per_request.items()}

    def ticks(self) -> float:
        """Looks at all objects since the operator was started."""
        told = metrics_of(ADMIN)
        return sum(v for key, v in told.items() if key.startswith("pdscale_operator_ticks_total"))

    def start(self) -> None:
        self.operator.start()

    def killed(self) -> None:
        self.operator.kill()
        self.operator.over()

    @contextmanager
    def within_budget(self, *names: str) -> Iterator[None]:
        """Each of these objects, looked at again and again."""
        most = dict.fromkeys(names, 0)

        def look() -> None:
            for name in names:
                most[name] = max(most[name], gpus_held(self.objects.pods(name)))

        with looking(look):
            yield
        assert all(0 < held <= BUDGET for held in most.values()), f"most GPUs held: {most}"


@contextmanager
def departures(trial: Trial, name: str) -> Iterator[dict[str, bool]]:
    """Decode pods that are gone when the block ends, and whether they were marked when last seen."""
    seen: dict[str, bool] = {}

    def look() -> None:
        for pod in trial.objects.pods(name, "decode"):
            seen[pod.metadata.name] = MARK in (pod.metadata.annotations or {})

    with looking(look, every=0.05):
        yield seen
    for pod in trial.objects.pods(name, "decode"):
        seen.pop(pod.metadata.name, None)


@contextmanager
def replicas_watched(objects: Objects, name: str) -> Iterator[list[tuple[int, int]]]:
    """What the scales asked for, again and again until the block ends."""
    seen: list[tuple[int, int]] = []
    with looking(lambda: seen.append(objects.replicas(name)), every=0.1):
        yield seen
