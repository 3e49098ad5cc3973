"""Pod templates: an engine with a router beside it, and the front router.

Both roles have one shape, whatever differs comes from the user's ``podTemplate``: a running pod changes
its role by its label, and arguments cannot change on a running pod. The router beside the engine is a
native sidecar, so it is up before the engine and outlives it: requests that drain need both.
"""

import math
from dataclasses import dataclass
from typing import Final

from pdscale.api.translate import flips
from pdscale.api.v1alpha1 import PodTemplate, Pool, ServingDeployment
from pdscale.kube import pinning
from pdscale.kube.gates import GATE
from pdscale.kube.manifests_engine import (
    PROFILE_PATH,
    engine_command,
    engine_env,
    pod_env,
    profile_arguments,
)
from pdscale.kube.manifests_merge import merge_labels, merge_pod_spec
from pdscale.kube.manifests_parts import (
    ADMIN,
    ADMIN_PORT,
    HTTP,
    HTTP_PORT,
    PICKER,
    PICKER_PORT,
    RESTRICTED,
    SMALL,
    Part,
    port,
    probe,
    scraped,
)
from pdscale.model.pools import Role
from pdscale.model.units import parse_duration

GPU: Final = "nvidia.com/gpu"
PROFILE_MAP: Final = "router-profile"  # not "profile": users like to call their own NAME-profile
# By which endpoint pickers of the Inference Extension find replicas and tell prefill from decode.
SERVING: Final = "llm-d.ai/inference-serving"
SERVING_ROLE: Final = "llm-d.ai/role"
_PROFILE_FOLDER: Final = PROFILE_PATH.rsplit("/", 1)[0]
# After the drain: seconds for streams to close and processes to end.
_FAREWELL: Final = 15


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

    def of_pool(self, role: Role, labels: dict[str, str], *, pinned_for: int = pinning.DEFAULT) -> Part:
        """``pinned_for`` seconds an engine keeps what a session's next round may read."""
        pool = self.parent.spec.pool(role)
        sidecar = self._router("sidecar", self._engine_arguments()) | {"restartPolicy": "Always"}
        spec = self._spec(
            initContainers=[sidecar],
            containers=[self._engine(pool, pinned_for)],
            tolerations=[{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
        )
        if flips(self.parent.spec):
            spec["schedulingGates"] = [{"name": GATE}]
        where = f"spec.{role}.podTemplate"
        template = pool.pod_template or PodTemplate()
        for_pickers = {SERVING: "true", SERVING_ROLE: str(role)}
        return {
            "metadata": {
                "labels": merge_labels(labels, for_pickers | template.metadata.labels, where=where),
                "annotations": scraped(ADMIN_PORT) | template.metadata.annotations,
            },
            "spec": merge_pod_spec(spec, template.spec, where=f"{where}.spec"),
        }

    def front(self, labels: dict[str, str]) -> Part:
        picks = self.parent.spec.router.endpoint_picker
        router = self._router("front", ["--endpoint-picker-port", str(PICKER_PORT)] if picks else [])
        if picks:
            router["ports"].append(port(PICKER, PICKER_PORT))
        spec = self._spec(containers=[router])
        return {"metadata": {"labels": labels, "annotations": scraped(ADMIN_PORT)}, "spec": spec}

    def _spec(self, **parts: list[Part]) -> Part:
        drain = parse_duration(self.parent.spec.router.drain_timeout)
        volumes = self._volumes(engine="initContainers" in parts)
        secrets = [{"name": secret.name} for secret in self.parent.spec.router.image_pull_secrets]
        return {
            "serviceAccountName": f"{self.parent.metadata.name}-router",
            # Variables of a Service called vllm would be read by vLLM as its own settings.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": math.ceil(drain) + _FAREWELL,
            **parts,
            **({"volumes": volumes} if volumes else {}),
            **({"imagePullSecrets": secrets} if secrets else {}),
        }

    def _engine(self, pool: Pool, pinned_for: int) -> Part:
        spec = self.parent.spec
        command, arguments = engine_command(spec, gpus=pool.gpus_per_replica, pinned_for=pinned_for)
        ours = spec.engine.type == "Emulated"
        mounts = ([] if ours else [{"name": "shm", "mountPath": "/dev/shm"}]) + self._profile_mount()
        container: Part = {
            "name": "engine",
            "image": spec.engine.image or self._router_image(),
            "command": command,
            "args": arguments,
            "env": engine_env(spec.engine),
            "ports": [port("engine", spec.engine.port)],
            "resources": {"limits": {GPU: str(pool.gpus_per_replica)}},
            # Weights take minutes to load: half an hour until the engine counts as dead.
            "startupProbe": probe("/health", "engine", period=2, failures=900),
            "readinessProbe": probe("/health", "engine", period=2, failures=3),
            "livenessProbe": probe("/health", "engine", period=10, failures=6),
            # The engine gets its signal when the router beside it has had nothing open for a moment.
            "lifecycle": {"preStop": {"httpGet": {"path": "/drained", "port": ADMIN_PORT}}},
        }
        if mounts:
            container["volumeMounts"] = mounts
        return container | ({"securityContext": RESTRICTED} if ours else {})

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
            "ports": [port(HTTP, HTTP_PORT), port(ADMIN, ADMIN_PORT)],
            "resources": router.resources or SMALL,
            "startupProbe": probe("/healthz", ADMIN, period=1, failures=60),
            "readinessProbe": probe("/readyz", ADMIN, period=2, failures=2),
            "livenessProbe": probe("/healthz", ADMIN, period=10, failures=3),
            "securityContext": RESTRICTED,
        }
        mounts = self._profile_mount()
        return container | ({"volumeMounts": mounts} if mounts else {})

    def _engine_arguments(self) -> list[str]:
        spec = self.parent.spec
        honours = ["--honour-prefiller-header"] if spec.router.honour_prefiller_header else []
        return ["--engine-url", f"http://$(POD_IP):{spec.engine.port}", *honours]

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
