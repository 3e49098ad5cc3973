"""``ServingDeployment``, version v1alpha1: what a user writes. The CRD is generated from here.

Names follow what people know from the HorizontalPodAutoscaler and from vLLM where such names exist:
``minReplicas``, ``maxReplicas`` and ``tolerance`` mean what they mean there; ``scaleDownWindow`` is its
``behavior.scaleDown.stabilizationWindowSeconds``, written as a duration like every other time.
Docstrings below a field become its description in ``kubectl explain``.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field, PositiveInt

from pdscale.api.fields import LIST_KEYS, LIST_TYPE, Between, Duration, Model
from pdscale.api.rules import (
    CERT_WITH_KEY,
    DECODE_NEEDS_ONE,
    ENGINE_PORT_IS_FREE,
    ENV_NAMES_ARE_UNIQUE,
    HISTORY_FITS_STEPS,
    MINIMUM_FITS_BUDGET,
    NAME_FITS_CHILDREN,
    NAME_IS_A_DNS_LABEL,
    ONE_CREDENTIAL,
    ONE_PROFILE_SOURCE,
    REPLICAS_IN_ORDER,
    SGLANG_PREFILLS_REMOTELY,
    THRESHOLD_IS_USED,
    TLS_ON_HTTPS,
)
from pdscale.api.rules_floors import (
    RESERVED_FITS_BUDGET,
    SCHEDULES_FIT_BOUNDS,
    SCHEDULES_FIT_BUDGET,
    TIME_ZONE_IS_KNOWN,
)
from pdscale.api.rules_targets import (
    ENGINE_NEEDS_IMAGE,
    POD_TEMPLATE_OR_TARGET,
    ROUTER_NEEDS_ONE,
    TARGETS_DIFFER,
)
from pdscale.model.pools import Role

GROUP: Final = "pdscale.io"
VERSION: Final = "v1alpha1"
KIND: Final = "ServingDeployment"
PLURAL: Final = "servingdeployments"
API_VERSION_PATTERN: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[0-9][a-z0-9]*$"

Replicas = Annotated[int, Field(ge=0, le=10_000)]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Image = Annotated[str, Field(min_length=1, max_length=512)]
Query = Annotated[str, Field(min_length=1, max_length=4096)]
Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
ClockTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)]
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

    rules: ClassVar = (ENGINE_PORT_IS_FREE, ENV_NAMES_ARE_UNIQUE)

    type: Literal["vLLM", "SGLang", "Emulated"] = "vLLM"
    """Which server it is. `Emulated` answers from the profile and needs no GPU."""
    image: Image | None = None
    """Container image. `Emulated` runs the router's image unless one is named; two targets need none."""
    command: list[str] = Field(default_factory=list)
    """Replaces the command that the operator would write, arguments included."""
    args: list[str] = Field(default_factory=list)
    """Arguments after those that the operator writes; the last one of a kind wins."""
    env: list[EnvVar] = Field(default_factory=list, json_schema_extra={LIST_TYPE: "map", LIST_KEYS: ["name"]})
    """Further environment variables of the engine's container."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    """Port on which the engine serves."""
    decoder_kv_blocks_ttl: Annotated[Duration, Between("1s", "1h")] | None = None
    """How long vLLM keeps the KV of a round that ended, for the session's next one.

    If absent, it follows from how long sessions pause, whenever the pods change for another reason.
    """


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


class ScaleTargetRef(Model):
    """An object in the same namespace that somebody else made and whose `/scale` the operator writes."""

    api_version: Annotated[str, Field(pattern=API_VERSION_PATTERN, max_length=317)]
    """Its group and version, such as `apps/v1` or `leaderworkerset.x-k8s.io/v1`."""
    kind: Annotated[str, Field(pattern="^[A-Z][A-Za-z0-9]*$", max_length=63)]
    """Its kind, such as `StatefulSet` or `LeaderWorkerSet`; any with a scale subresource."""
    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name."""


class Pool(Model):
    """The replicas of one role."""

    rules: ClassVar = (REPLICAS_IN_ORDER, POD_TEMPLATE_OR_TARGET)

    min_replicas: Replicas = 1
    """Fewest replicas; also how many a new pool starts with."""
    max_replicas: Annotated[int, Field(ge=1, le=10_000)]
    """Most replicas."""
    gpus_per_replica: Annotated[int, Field(ge=1, le=1024)] = 1
    """GPUs of one replica: its `nvidia.com/gpu` limit, and the engine's tensor parallel size.

    Of a replica behind a `scaleTargetRef`: what it holds, all pods of a group together.
    """
    spare_replicas: Replicas = 0
    """Replicas beyond those that the plan needs, ready for a burst; the first to go where GPUs are short."""
    startup_time: Annotated[Duration, Between("0s", "2h")] = "60s"
    """Assumed time from a pod's creation to its readiness, until it has been measured."""
    pod_template: PodTemplate | None = None
    """What the pods have beyond what the operator writes; of a `scaleTargetRef` they are not ours."""
    scale_target_ref: ScaleTargetRef | None = None
    """Replicas of an existing object instead of a Deployment that the operator makes."""


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
    calibration: Literal["Enabled", "Disabled"] = "Enabled"
    """Whether plans are made with its times corrected by what engines are seen to take."""


class SecretKey(Model):
    """A key of a Secret in the object's own namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key under which the value stands."""


class BasicAuth(Model):
    """A user's name and password."""

    username: SecretKey
    """Where the name stands."""
    password: SecretKey
    """Where the password stands."""


class PrometheusAuth(Model):
    """Who asks: exactly one of the two."""

    rules: ClassVar = (ONE_CREDENTIAL,)

    bearer_token: SecretKey | None = None
    """A token for the `Authorization` header."""
    basic: BasicAuth | None = None
    """A name and a password."""


class PrometheusTls(Model):
    """Certificates in PEM, for an address that begins with `https://`."""

    rules: ClassVar = (CERT_WITH_KEY,)

    ca: SecretKey | None = None
    """Authorities to trust instead of the public ones."""
    cert: SecretKey | None = None
    """Certificate that shows the server who asks; with `key`."""
    key: SecretKey | None = None
    """Its private key, without a password."""


class Queries(Model):
    """PromQL that replaces ours, for figures that your metrics server has under other names.

    Each gives one series; `$window` becomes the window that a rate needs, such as `60s`.
    """

    request_rate: Query | None = None
    """Requests that arrive, per second."""
    completed: Query | None = None
    """Requests that end, per second; the sums below are over these."""
    prompt_tokens: Query | None = None
    """Their prompt tokens, per second."""
    uncached_tokens: Query | None = None
    """Those of them that no prefix cache held."""
    uncached_tokens_squared: Query | None = None
    """Squares of a request's uncached tokens, summed, per second."""
    output_tokens: Query | None = None
    """Their output tokens, per second."""
    output_tokens_squared: Query | None = None
    """Squares of a request's output tokens, summed, per second."""
    local_share: Query | None = None
    """Share of uncached prompt tokens that decode replicas computed, 0 to 1."""
    decode_streams: Query | None = None
    """Requests on decode replicas, waiting ones included."""
    inter_token_latency: Query | None = None
    """Mean seconds between two tokens of a stream."""
    decode_batch: Query | None = None
    """Mean number of streams on a decode engine, as a stream finds it."""
    prefill_leg_seconds: Query | None = None
    """Mean seconds from the first pass of a request on a prefill engine to its end, without queues."""
    prefill_leg_tokens: Query | None = None
    """Mean prompt tokens that a prefill engine computes for a request."""
    prefill_legs_per_pass: Query | None = None
    """Requests that end in one pass of a prefill engine, in the mean over passes in which any does."""


class Prometheus(Model):
    """The metrics server that scrapes the routers and engines."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=1024)] | None = None
    """Base address, such as `http://prometheus.monitoring:9090`; the operator's own (`prometheus.url` of its
    chart, or the small server that comes with it) where it is absent."""
    timeout: Annotated[Duration, Between("100ms", "1m")] = "5s"
    """Longest wait for an answer; a long history is asked for in several pages."""
    auth: PrometheusAuth | None = None
    """Who asks, if the server wants to know."""
    tls: PrometheusTls | None = None
    """Certificates beyond the public authorities."""
    queries: Queries = Field(default_factory=Queries)
    """PromQL that replaces ours."""


class ForecastSettings(Model):
    """How the request rate is forecast."""

    model: Literal[
        "Auto",
        "LastValue",
        "Level",
        "MovingMaximum",
        "Ridge",
        "SeasonalNaive",
        "SeasonalNaiveWeek",
        "QuantileLines",
        "Boosting",
        "Ensemble",
    ] = "Auto"
    """`Auto` takes the model that did best on this object's own past."""
    quantile: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Replicas suffice with this probability, as far as the forecast is right."""
    history: Annotated[Duration, Between("1m", "336h")] = "30m"
    """How far back the forecast looks."""
    step: Annotated[Duration, Between("1s", "10m")] = "15s"
    """Distance between two samples; not below the scrape interval."""


class PacePolicy(Model):
    """A limit on how much a pool may change within a period."""

    type: Literal["Pods", "Percent"]
    """Whether `value` counts replicas, or percent of those at the beginning of the period."""
    value: Annotated[int, Field(ge=1, le=10_000)]
    """How many may be added or removed within the period."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)]
    """Length of the period."""


class PaceRules(Model):
    """How fast pools may go into one direction; without policies as fast as the plan wants."""

    select_policy: Literal["Max", "Min", "Disabled"] = "Max"
    """Which of several policies counts: that of the most change, of the least, or no change at all."""
    policies: Annotated[list[PacePolicy], Field(max_length=10)] = Field(
        default_factory=list, json_schema_extra={LIST_TYPE: "atomic"}
    )
    """The limits, for each pool by itself."""


class Behavior(Model):
    """How fast pools may change, in the words of the HorizontalPodAutoscaler."""

    scale_up: PaceRules = Field(default_factory=PaceRules)
    """Growing."""
    scale_down: PaceRules = Field(default_factory=PaceRules)
    """Shrinking; its stabilization window is `scaleDownWindow`."""


class SharedBudget(Model):
    """A cap on GPUs that several ServingDeployments of a namespace share."""

    resource_quota: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of a ResourceQuota in the namespace, whose `requests.nvidia.com/gpu` is the cap."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Who is given GPUs first, beyond what `minReplicas` hold: higher ones; of equal ones by name."""


class Schedule(Model):
    """Hours at which the pools have more replicas at least than `minReplicas`.

    They are started ahead by what a start-up takes. Where several apply, the highest counts.
    """

    rules: ClassVar = (TIME_ZONE_IS_KNOWN,)

    days: Annotated[list[Day], Field(min_length=1, max_length=7)] = Field(
        default_factory=lambda: list(get_args(Day)), json_schema_extra={LIST_TYPE: "set"}
    )
    """Days of the week on which the hours begin."""
    start: ClockTime
    """When they begin, such as `08:30`."""
    end: ClockTime
    """When they end; not after `start` means on the next day."""
    time_zone: Annotated[str, Field(min_length=1, max_length=64)] = "Etc/UTC"
    """Whose clock: a name of the IANA time zone database, such as `Europe/Berlin`."""
    prefill_min_replicas: Replicas = 0
    """Fewest prefill replicas then."""
    decode_min_replicas: Replicas = 0
    """Fewest decode replicas then."""


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
    scale_down_window: Annotated[Duration, Between("0s", "24h")] | None = None
    """Replicas go down only to the most that was wanted within this time. Absent: as long as the role's
    start-up and drain take, which is what a replica costs that goes and comes again; and once more what
    of the start-up is beyond a minute, since no trend foresees that."""
    behavior: Behavior = Field(default_factory=Behavior)
    """How fast pools may change; bounds and `gpuBudget` come before it."""
    schedules: Annotated[list[Schedule], Field(max_length=32)] = Field(
        default_factory=list, json_schema_extra={LIST_TYPE: "atomic"}
    )
    """Hours at which there are more replicas at least, for what no forecast can know."""
    shared_budget: SharedBudget | None = None
    """A cap that other objects count against, too, beside `gpuBudget`, which is this one's alone."""
    role_flip: Literal["Disabled", "Enabled"] = "Disabled"
    """Whether a running replica that one role gives up and the other one wants changes its role, instead of
    one that ends and one that starts. Pods then start with a scheduling gate that the operator lifts."""


class SecretName(Model):
    """A Secret in the object's own namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name."""


class Router(Model):
    """The routers: one in front, and one beside each engine."""

    placement: Literal[
        "CostBased", "AMPD", "AlwaysLocal", "AlwaysRemote", "Threshold", "ConServe", "Table"
    ] = "CostBased"
    """Where a round is prefilled; `CostBased` and `AMPD` go by load, the others by the round alone."""
    threshold_tokens: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """For `Threshold`: rounds of so many new tokens or more are prefilled remotely; 512 unless given."""
    queue_order: Literal["FCFS", "AMPDWindow", "ShortestRemaining", "FewestLate"] = "FewestLate"
    """In which order prefills wait for a prefill engine; `FewestLate` has as many as can be within their TTFT
    go by deadline, `ShortestRemaining` the short ones first. Both age the others, so none starves."""
    admit: Annotated[int, Field(ge=1, le=1024)] = 2
    """How many prefills a prefill engine is given at a time; the rest wait in our order."""
    reject_late: bool = False
    """Whether a prefill is refused at once if it would miss the TTFT limit in the queue."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 1
    """Replicas of the front router; 0 only where both roles have a `scaleTargetRef`."""
    image: Image | None = None
    """Container image of the routers, if not the operator's default."""
    image_pull_secrets: Annotated[list[SecretName], Field(max_length=16)] = Field(default_factory=list)
    """Credentials for the registry of that image, for all pods; engines' may be added by `podTemplate`."""
    honour_prefiller_header: bool = False
    """Whether `x-prefiller-host-port` names the prefill replica; where only an endpoint picker sends it."""
    endpoint_picker: bool = False
    """Whether the front router is a gateway's endpoint picker, too: ext_proc on port 9002 of its Service,
    by the image `endpoint-picker`."""
    drain_timeout: Annotated[Duration, Between("0s", "1h")] = "30s"
    """How long a pod that is to go may finish what it has begun."""
    resources: Preserved | None = None
    """Resources of each router's container, in the shape that a container has."""


class Spec(Model):
    """What the user wants: one model, two pools that size themselves, an SLO and a GPU budget."""

    rules: ClassVar = (
        MINIMUM_FITS_BUDGET,
        DECODE_NEEDS_ONE,
        ENGINE_NEEDS_IMAGE,
        ROUTER_NEEDS_ONE,
        TARGETS_DIFFER,
        HISTORY_FITS_STEPS,
        TLS_ON_HTTPS,
        SGLANG_PREFILLS_REMOTELY,
        THRESHOLD_IS_USED,
        RESERVED_FITS_BUDGET,
        SCHEDULES_FIT_BOUNDS,
        SCHEDULES_FIT_BUDGET,
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
    reserved_gpus: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """GPUs of the budget that are paid for in any case: all are used, as far as `maxReplicas` allow, and the
    plan decides only which role they have."""
    profile: ProfileSource
    """Performance model of one replica."""
    prometheus: Prometheus = Field(default_factory=Prometheus)
    """The metrics server."""
    forecast: ForecastSettings = Field(default_factory=ForecastSettings)
    """How the request rate is forecast."""
    scaling: Scaling = Field(default_factory=Scaling)
    """How a plan is made and what becomes of it."""
    router: Router = Field(default_factory=Router)
    """The routers."""

    def pool(self, role: Role) -> Pool:
        return self.prefill if role is Role.PREFILL else self.decode


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
