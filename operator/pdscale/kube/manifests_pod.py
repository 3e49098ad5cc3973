"""Pod templates: an engine with a router beside it, and the front router.

Both roles have one shape, whatever differs comes from the user's ``podTemplate``: a running pod changes
its role by its label, and arguments cannot change on a running pod. The router beside the engine is a
native sidecar, so it is up before the engine and outlives it: requests that drain need both.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

from pdscale.api.v1alpha1 import Pool, ServingDeployment
from pdscale.kube.manifests_engine import (
    PROFILE_PATH,
    engine_command,
    engine_env,
    pod_env,
    profile_arguments,
)
from pdscale.kube.manifests_merge import merge_labels, merge_pod_spec
from pdscale.model.pools import Role
from pdscale.model.units import parse_duration

Part = dict[str, Any]

HTTP: Final = "http"
ADMIN: Final = "admin"
HTTP_PORT: Final = 8080
ADMIN_PORT: Final = 9090
GPU: Final = "nvidia.com/gpu"
PROFILE_MAP: Final = "router-profile"  # not "profile": users like to call their own NAME-profile
_PROFILE_FOLDER: Final = PROFILE_PATH.rsplit("/", 1)[0]
# After the drain: seconds for streams to close and processes to end.
_FAREWELL: Final = 15
_RESTRICTED: Final[Part] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_SMALL: Final[Part] = {"requests": {"cpu": "100m", "memory": "96Mi"}}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator's own settings say about the objects that it creates."""

    router_image: str
    router_cluster_role: str = "pdscale-router"


@dataclass(frozen=True, slots=True)
class Pods:
    """The pod templates of one ServingDeployment."""

    parent: ServingDeployment
    defaults: Defaults

    def of_pool(self, role: Role, labels: dict[str, str]) -> Part:
        pool = self._pool(role)
        sidecar = self._router("sidecar", self._engine_arguments()) | {"restartPolicy": "Always"}
        spec = self._spec(
            initContainers=[sidecar],
            containers=[self._engine(pool)],
            tolerations=[{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
        )
        where = f"spec.{role}.podTemplate"
        template = pool.pod_template
        return {
            "metadata": {
                "labels": merge_labels(labels, template.metadata.labels, where=where),
                "annotations": _scraped(ADMIN_PORT) | template.metadata.annotations,
            },
            "spec": merge_pod_spec(spec, template.spec, where=f"{where}.spec"),
        }

    def front(self, labels: dict[str, str]) -> Part:
        spec = self._spec(containers=[self._router("front", [])])
        return {"metadata": {"labels": labels, "annotations": _scraped(ADMIN_PORT)}, "spec": spec}

    def _pool(self, role: Role) -> Pool:
        return self.parent.spec.prefill if role is Role.PREFILL else self.parent.spec.decode

    def _spec(self, **parts: list[Part]) -> Part:
        drain = parse_duration(self.parent.spec.router.drain_timeout)
        volumes = self._volumes(engine="initContainers" in parts)
        return {
            "serviceAccountName": f"{self.parent.metadata.name}-router",
            # Variables of a Service called vllm would be read by vLLM as its own settings.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": math.ceil(drain) + _FAREWELL,
            **parts,
            **({"volumes": volumes} if volumes else {}),
        }

    def _engine(self, pool: Pool) -> Part:
        spec = self.parent.spec
        command, arguments = engine_command(spec, gpus=pool.gpus_per_replica)
        ours = spec.engine.type == "Emulated"
        mounts = ([] if ours else [{"name": "shm", "mountPath": "/dev/shm"}]) + self._profile_mount()
        container: Part = {
            "name": "engine",
            "image": spec.engine.image or self._router_image(),
            "command": command,
            "args": arguments,
            "env": engine_env(spec.engine),
            "ports": [{"name": "engine", "containerPort": spec.engine.port, "protocol": "TCP"}],
            "resources": {"limits": {GPU: str(pool.gpus_per_replica)}},
            # Weights take minutes to load: half an hour until the engine counts as dead.
            "startupProbe": _probe("/health", "engine", period=2, failures=900),
            "readinessProbe": _probe("/health", "engine", period=2, failures=3),
            "livenessProbe": _probe("/health", "engine", period=10, failures=6),
            # The engine gets its signal when the router beside it has had nothing open for a moment.
            "lifecycle": {"preStop": {"httpGet": {"path": "/drained", "port": ADMIN_PORT}}},
        }
        if mounts:
            container["volumeMounts"] = mounts
        return container | ({"securityContext": _RESTRICTED} if ours else {})

    def _router(self, place: str, further: list[str]) -> Part:
        spec, router = self.parent.spec, self.parent.spec.router
        arguments = {
            "--place": place,
            "--deployment": self.parent.metadata.name,
            "--namespace": "$(POD_NAMESPACE)",
            "--pod-name": "$(POD_NAME)",
            "--host": "$(POD_IP)",
            "--port": str(HTTP_PORT),
            "--admin-port": str(ADMIN_PORT),
            "--engine-type": spec.engine.type,
            "--placement": router.placement,
            "--queue-order": router.queue_order,
            "--admit": str(router.admit),
            "--ttft": spec.slo.ttft,
            "--tpot": spec.slo.tpot,
            "--drain-timeout": router.drain_timeout,
        }
        if router.threshold_tokens is not None:
            arguments["--threshold-tokens"] = str(router.threshold_tokens)
        container: Part = {
            "name": "router",
            "image": self._router_image(),
            "command": ["python", "-m", "pdscale.router"],
            "args": [word for pair in arguments.items() for word in pair]
            + (["--reject-late"] if router.reject_late else [])
            + profile_arguments(spec.profile)
            + further,
            "env": pod_env(),
            "ports": [
                {"name": HTTP, "containerPort": HTTP_PORT, "protocol": "TCP"},
                {"name": ADMIN, "containerPort": ADMIN_PORT, "protocol": "TCP"},
            ],
            "resources": router.resources or _SMALL,
            "startupProbe": _probe("/healthz", ADMIN, period=1, failures=60),
            "readinessProbe": _probe("/readyz", ADMIN, period=2, failures=2),
            "livenessProbe": _probe("/healthz", ADMIN, period=10, failures=3),
            "securityContext": _RESTRICTED,
        }
        mounts = self._profile_mount()
        return container | ({"volumeMounts": mounts} if mounts else {})

    def _engine_arguments(self) -> list[str]:
        return ["--engine-url", f"http://$(POD_IP):{self.parent.spec.engine.port}"]

    def _router_image(self) -> str:
        return self.parent.spec.router.image or self.defaults.router_image

    def _profile_mount(self) -> list[Part]:
        if self.parent.spec.profile.config_map is None:
            return []
        return [{"name": "profile", "mountPath": _PROFILE_FOLDER, "readOnly": True}]

    def _volumes(self, *, engine: bool) -> list[Part]:
        found: list[Part] = []
        if engine and self.parent.spec.engine.type != "Emulated":
            # Tensor parallel workers exchange through shared memory; a container's own is 64 MiB.
            found.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        if self.parent.spec.profile.config_map is not None:
            source = {"name": f"{self.parent.metadata.name}-{PROFILE_MAP}"}
            found.append({"name": "profile", "configMap": source})
        return found


def _scraped(port: int) -> dict[str, str]:
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(port)}


def _probe(path: str, port: str, *, period: int, failures: int) -> Part:
    return {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
