"""ServingDeployments as tests and benchmarks use them: built, created, read, waited for."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from pdscale_e2e.lanes import LABEL, lane
from pdscale_e2e.waiting import eventually, looking

GROUP: Final = ("pdscale.io", "v1alpha1")
PLURAL: Final = "servingdeployments"
GPU: Final = "nvidia.com/gpu"
STATUS_TAINT: Final[Mapping[str, str]] = {
    "key": "pdscale.io/nodes",
    "value": "status",
    "effect": "NoSchedule",
}

# One replica of each role carries 3.86 and 2.80 rounds/s of the dial's traffic within these limits.
GOOD: Final[Mapping[str, Any]] = {
    "model": "meta-llama/Llama-2-70b-chat-hf",
    "engine": {"type": "Emulated"},
    "slo": {"ttft": "2s", "tpot": "65ms"},
    "profile": {"name": "llama-2-70b-a100-tp8-2023"},
    "prefill": {"minReplicas": 1, "maxReplicas": 8, "gpusPerReplica": 1, "startupTime": "5s"},
    "decode": {"minReplicas": 1, "maxReplicas": 8, "gpusPerReplica": 1, "startupTime": "5s"},
    "gpuBudget": 16,
    "forecast": {"history": "2m", "step": "1s"},
    "scaling": {"interval": "1s", "scaleDownWindow": "5s"},
}


def serving(name: str, **changes: Any) -> dict[str, Any]:
    """A ServingDeployment; ``changes`` are merged into the spec, one level deep into its parts."""
    spec = copy.deepcopy(dict(GOOD))
    for field, value in changes.items():
        spec[field] = {**spec[field], **value} if isinstance(value, dict) and field in spec else value
    return {
        "apiVersion": "/".join(GROUP),
        "kind": "ServingDeployment",
        "metadata": {"name": name},
        "spec": spec,
    }


def on_nodes(kind: str, **pool: Any) -> dict[str, Any]:
    """Its pods go to nodes of one kind (label ``pdscale.io/nodes``); ``status`` ones are this lane's."""
    spec: dict[str, Any] = {"nodeSelector": {"pdscale.io/nodes": kind}}
    if kind == "status":
        spec["nodeSelector"][LABEL] = lane()
        spec["tolerations"] = [{"key": STATUS_TAINT["key"], "operator": "Exists"}]
    return {**pool, "podTemplate": {"spec": spec}}


@dataclass(frozen=True, slots=True)
class Objects:
    """ServingDeployments of one namespace; ``prometheus`` is filled in where a spec names none."""

    api: client.ApiClient
    namespace: str
    prometheus: str = "http://10.89.0.1:9090"

    def create(self, manifest: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        extra = {"dry_run": "All"} if dry_run else {}
        if not dry_run:
            manifest["spec"].setdefault("prometheus", {"url": self.prometheus})
        made: dict[str, Any] = self._custom.create_namespaced_custom_object(
            *GROUP, self.namespace, PLURAL, manifest, **extra
        )
        return made

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._custom.get_namespaced_custom_object(
            *GROUP, self.namespace, PLURAL, name
        )
        return found

    def exists(self, name: str) -> bool:
        try:
            self.get(name)
        except ApiException as error:
            if error.status == 404:
                return False
            raise
        return True

    def patch(self, name: str, **spec: Any) -> None:
        self._custom.patch_namespaced_custom_object(*GROUP, self.namespace, PLURAL, name, {"spec": spec})

    def delete(self, name: str) -> None:
        self._custom.delete_namespaced_custom_object(*GROUP, self.namespace, PLURAL, name)

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """The condition of this type; empty while it has not been set."""
        conditions = self.get(name).get("status", {}).get("conditions", ())
        return next((c for c in conditions if c["type"] == kind), {})

    def replicas(self, name: str) -> tuple[int, int]:
        """What both Deployments' scales ask for now: prefill, decode."""
        apps: Any = client.AppsV1Api(self.api)
        prefill, decode = (
            apps.read_namespaced_deployment(f"{name}-{role}", self.namespace).spec.replicas
            for role in ("prefill", "decode")
        )
        return prefill, decode

    def pods(self, name: str, role: str | None = None) -> list[Any]:
        selector = f"pdscale.io/deployment={name}" + (f",pdscale.io/role={role}" if role else "")
        core: Any = client.CoreV1Api(self.api)
        found: list[Any] = core.list_namespaced_pod(self.namespace, label_selector=selector).items
        return found

    def pods_of_role(self, role: str) -> list[Any]:
        """Those of all objects."""
        core: Any = client.CoreV1Api(self.api)
        found: list[Any] = core.list_namespaced_pod(
            self.namespace, label_selector=f"pdscale.io/role={role}"
        ).items
        return found

    def wait(
        self, name: str, *, kind: str, status: str, reason: str | None = None, within: float = 30
    ) -> str:
        """Wait for a condition; its message."""

        def there() -> str | None:
            found = self.condition(name, kind)
            right = found.get("status") == status and reason in (None, found.get("reason"))
            return (found.get("message") or "-") if right else None

        wanted = f"{kind}={status}" + (f" because {reason}" if reason else "")
        return eventually(there, within=within, what=f"ServingDeployment {name} has {wanted}")  # type: ignore[return-value]

    def wait_replicas(self, name: str, prefill: int, decode: int, *, within: float = 30) -> None:
        eventually(
            lambda: self.replicas(name) == (prefill, decode),
            within=within,
            what=f"{name} is scaled to {prefill}P+{decode}D",
        )

    def url(self, name: str) -> str:
        """The object's Service, by its cluster address."""
        core: Any = client.CoreV1Api(self.api)
        return f"http://{core.read_namespaced_service(name, self.namespace).spec.cluster_ip}"

    def answers(self, name: str, *, within: float) -> str:
        """Wait until the Service answers; its URL."""
        url = self.url(name)

        def answered() -> bool:
            try:
                return httpx.get(f"{url}/v1/models", timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        eventually(answered, within=within, what=f"{name} answers at {url}", every=0.3)
        return url

    @property
    def _custom(self) -> Any:
        return client.CustomObjectsApi(self.api)


def gpus_held(pods: list[Any]) -> int:
    """GPUs of pods that are bound to a node and have not ended."""
    return sum(
        int((c.resources.limits or {}).get(GPU, 0))
        for pod in pods
        if pod.spec.node_name and pod.status.phase not in ("Succeeded", "Failed")
        for c in pod.spec.containers
        if c.resources
    )


@contextmanager
def gpus_watched(objects: Objects, name: str) -> Iterator[list[int]]:
    """GPUs held by a ServingDeployment's pods, looked at again and again until the block ends."""
    seen: list[int] = []
    with looking(lambda: seen.append(gpus_held(objects.pods(name)))):
        yield seen
