"""``ServingDeployment``, version v1alpha1: what a user writes. The CRD is generated from here.

Names follow what people know from the HorizontalPodAutoscaler and from vLLM where such names exist:
``minReplicas``, ``maxReplicas`` and ``tolerance`` mean what they mean there; ``scaleDownWindow`` is its
``behavior.scaleDown.stabilizationWindowSeconds``, written as a duration like every other time.
Docstrings below a field become its description in ``kubectl explain``.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, PositiveInt

from pdscale.api.fields import LIST_KEYS, LIST_TYPE, Between, Duration, Model
from pdscale.api.rules import (
    DECODE_NEEDS_ONE,
    ENGINE_NEEDS_IMAGE,
    ENGINE_PORT_IS_FREE,
    ENV_NAMES_ARE_UNIQUE,
    HISTORY_FITS_STEPS,
    MINIMUM_FITS_BUDGET,
    NAME_FITS_CHILDREN,
    NAME_IS_A_DNS_LABEL,
    ONE_PROFILE_SOURCE,
    REPLICAS_IN_ORDER,
    SGLANG_PREFILLS_REMOTELY,
    THRESHOLD_IS_USED,
)

GROUP: Final = "pdscale.io"
VERSION: Final = "v1alpha1"
KIND: Final = "ServingDeployment"
PLURAL: Final = "servingdeployments"

Replicas = Annotated[int, Field(ge=0, le=10_000)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Image = Annotated[str, Field(min_length=1, max_length=512)]
Preserved = dict[str, Any]  # a piece of a foreign API, kept as it is


class EnvVar(Model):
    """An environment variable, in the shape that a container of a pod has."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the variable."""
    value: str | None = None
    """Value; `$(NAME)` refers to variables defined before."""
    value_from: Preserved | None = None
    """Source of the value: configMapKeyRef, secretKeyRef, fieldRef or resourceFieldRef."""


class Engine(Model):
    """The inference server that every replica of both roles runs."""

    rules: ClassVar = (ENGINE_NEEDS_IMAGE, ENGINE_PORT_IS_FREE, ENV_NAMES_ARE_UNIQUE)

    type: Literal["vLLM", "SGLang", "Emulated"] = "vLLM"
    """Which server it is. `Emulated` answers from the profile and needs no GPU."""
    image: Image | None = None
    """Container image. `Emulated` runs the router's image unless one is named."""
    command: list[str] = Field(default_factory=list)
    """Replaces the command that the operator would write, arguments included."""
    args: list[str] = Field(default_factory=list)
    """Arguments after those that the operator writes; the last one of a kind wins."""
    env: list[EnvVar] = Field(default_factory=list, json_schema_extra={LIST_TYPE: "map", LIST_KEYS: ["name"]})
    """Further environment variables of the engine's container."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    """Port on which the engine serves."""


class Slo(Model):
    """What every request is promised."""

    ttft: Annotated[Duration, Between("1ms", "1h")]
    """Limit on the time to the first token, such as `2s`."""
    tpot: Annotated[Duration, Between("1ms", "1m")]
    """Limit on the mean time per output token after the first, such as `75ms`."""
    attainment: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Share of requests that must meet both limits."""


class TemplateMetadata(Model):
    """Labels and annotations for the pods of one role."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Further labels; those that the operator sets cannot be replaced."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Further annotations."""


class PodTemplate(Model):
    """What the pods of one role have beyond what the operator writes."""

    metadata: TemplateMetadata = Field(default_factory=TemplateMetadata)
    """Labels and annotations."""
    spec: Preserved = Field(default_factory=dict)
    """Merged over the pod's spec; containers, volumes and env are matched by name."""


class Pool(Model):
    """The replicas of one role."""

    rules: ClassVar = (REPLICAS_IN_ORDER,)

    min_replicas: Replicas = 1
    """Fewest replicas; also how many a new pool starts with."""
    max_replicas: Annotated[int, Field(ge=1, le=10_000)]
    """Most replicas."""
    gpus_per_replica: Annotated[int, Field(ge=1, le=1024)] = 1
    """GPUs of one replica: its `nvidia.com/gpu` limit, and the engine's tensor parallel size."""
    startup_time: Annotated[Duration, Between("0s", "2h")] = "60s"
    """Assumed time from a pod's creation to its readiness, until it has been measured."""
    pod_template: PodTemplate = Field(default_factory=PodTemplate)
    """What the pods have beyond what the operator writes."""


class ProfileConfigMap(Model):
    """A key of a ConfigMap that holds a performance profile as JSON or YAML."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the ConfigMap, in the object's own namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "profile.json"
    """Key under which the profile stands."""


class ProfileSource(Model):
    """Where the performance model of one replica comes from: exactly one of the two."""

    rules: ClassVar = (ONE_PROFILE_SOURCE,)

    name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Name of a built-in profile."""
    config_map: ProfileConfigMap | None = None
    """A profile of your own."""


class Prometheus(Model):
    """The metrics server that scrapes the routers and engines."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=1024)]
    """Base address, such as `http://prometheus.monitoring:9090`."""


class ForecastSettings(Model):
    """How the request rate is forecast."""

    model: Literal["Auto", "LastValue", "MovingMaximum", "Level", "Ridge"] = "Auto"
    """`Auto` takes the model that did best on this object's own past."""
    quantile: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Replicas suffice with this probability, as far as the forecast is right."""
    history: Annotated[Duration, Between("1m", "168h")] = "30m"
    """How far back the forecast looks."""
    step: Annotated[Duration, Between("1s", "10m")] = "15s"
    """Distance between two samples; not below the scrape interval."""


class Scaling(Model):
    """How a plan is made and what becomes of it."""

    mode: Literal["Auto", "Recommend", "Approve", "Paused"] = "Auto"
    """`Auto` applies plans, `Recommend` only shows them, `Approve` asks first, `Paused` makes none."""
    approval_timeout: Annotated[Duration, Between("1s", "168h")] = "15m"
    """For `Approve`: how long a proposal waits for an answer before the plan of that moment replaces it."""
    interval: Annotated[Duration, Between("1s", "1h")] = "15s"
    """Time between two plans."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Relative distance from the demand within which the replicas stay."""
    scale_down_window: Annotated[Duration, Between("0s", "24h")] = "300s"
    """Replicas go down only to the most that was wanted within this time."""


class Router(Model):
    """The routers: one in front, and one beside each engine."""

    placement: Literal[
        "CostBased", "AMPD", "AlwaysLocal", "AlwaysRemote", "Threshold", "ConServe", "Table"
    ] = "CostBased"
    """Where a round is prefilled; `CostBased` and `AMPD` go by load, the others by the round alone."""
    threshold_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """For `Threshold`: rounds of so many new tokens or more are prefilled remotely; 512 unless given."""
    queue_order: Literal["FCFS", "AMPDWindow", "ShortestRemaining"] = "ShortestRemaining"
    """In which order prefills wait for a prefill engine; `ShortestRemaining` ages them, so none starves."""
    admit: Annotated[int, Field(ge=1, le=1024)] = 2
    """How many prefills a prefill engine is given at a time; the rest wait in our order."""
    reject_late: bool = False
    """Whether a prefill is refused at once if it would miss the TTFT limit in the queue."""
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """Replicas of the front router."""
    image: Image | None = None
    """Container image of the routers, if not the operator's default."""
    drain_timeout: Annotated[Duration, Between("0s", "1h")] = "30s"
    """How long a pod that is to go may finish what it has begun."""
    resources: Preserved | None = None
    """Resources of each router's container, in the shape that a container has."""


class Spec(Model):
    """What the user wants: one model, two pools that size themselves, an SLO and a GPU budget."""

    rules: ClassVar = (
        MINIMUM_FITS_BUDGET,
        DECODE_NEEDS_ONE,
        HISTORY_FITS_STEPS,
        SGLANG_PREFILLS_REMOTELY,
        THRESHOLD_IS_USED,
    )

    model: Text
    """Model to serve, as the engine takes it: a name on a hub or a path in the container."""
    engine: Engine
    """The inference server."""
    slo: Slo
    """What every request is promised."""
    prefill: Pool
    """Replicas that prefill for others."""
    decode: Pool
    """Replicas that decode, and prefill themselves where that is better."""
    gpu_budget: Annotated[PositiveInt, Field(le=10_000_000)]
    """Most GPUs that both pools may hold together, starting and terminating pods included."""
    profile: ProfileSource
    """Performance model of one replica."""
    prometheus: Prometheus
    """The metrics server."""
    forecast: ForecastSettings = Field(default_factory=ForecastSettings)
    """How the request rate is forecast."""
    scaling: Scaling = Field(default_factory=Scaling)
    """How a plan is made and what becomes of it."""
    router: Router = Field(default_factory=Router)
    """The routers."""


class Metadata(Model):
    """The few fields of an object's metadata that anything here looks at."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0


class ServingDeployment(Model):
    """LLM serving with separate prefill and decode pools that resize themselves within a budget."""

    # No status: one that a newer operator wrote must not keep this one from reading the spec.

    rules: ClassVar = (NAME_FITS_CHILDREN, NAME_IS_A_DNS_LABEL)

    api_version: Literal["pdscale.io/v1alpha1"]
    kind: Literal["ServingDeployment"]
    metadata: Metadata
    spec: Spec


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; those of priority 1 appear with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0

    @property
    def schema(self) -> dict[str, object]:
        column: dict[str, object] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.priority:
            column["priority"] = self.priority
        return column


COLUMNS: Final = (
    Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
    Column("P", ".status.prefill.summary"),
    Column("D", ".status.decode.summary"),
    Column("GPUs", ".status.gpus.held", type="integer"),
    Column("Mode", ".spec.scaling.mode"),
    Column("Model", ".spec.model", priority=1),
    Column("Budget", ".spec.gpuBudget", type="integer", priority=1),
    Column("Forecast", ".status.forecast.requestRate", type="number", priority=1),
    Column("Placement", ".spec.router.placement", priority=1),
    Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', priority=1),
    Column("Age", ".metadata.creationTimestamp", type="date"),
)
