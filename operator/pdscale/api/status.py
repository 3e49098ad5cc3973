"""The status of a ServingDeployment: what the operator reports, for people and for dashboards.

Nothing in it may change from tick to tick while the world stands still: each change is a write to the
API server and an event for every watcher. Times are those of changes, figures are rounded by their
writer, and the trail is that of the last plan only.
"""

from typing import Annotated, Literal

from pydantic import Field

from pdscale.api.fields import LIST_KEYS, LIST_TYPE, Duration, Model

Count = Annotated[int, Field(ge=0)]


class Condition(Model):
    """One aspect of the object's state, in the shape that all Kubernetes conditions have."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """Aspect, in CamelCase: Ready, MetricsAvailable, ForecastReady, ScalingActive, ..."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Cause of the last transition, in one CamelCase word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """The same for people, with figures."""
    observed_generation: Count | None = None
    """Generation of the spec that was looked at."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When `status` changed last."""


class PoolStatus(Model):
    """Replicas of one role."""

    current: Count | None = None
    """Pods that exist."""
    desired: Count | None = None
    """What the Deployment's scale says."""
    ready: Count | None = None
    """Pods that take requests."""
    starting: Count | None = None
    """Pods on a node that are not ready yet."""
    draining: Count | None = None
    """Ready pods that take no new sessions and can still be kept."""
    terminating: Count | None = None
    """Pods that are going and still hold their GPUs."""
    unschedulable: Count | None = None
    """Pods for which no node has room."""
    summary: str | None = None
    """`READY/DESIRED`, for the printed table."""
    target: str | None = None
    """Kind and name of the object whose scale is written, where it is not a Deployment of ours."""


class GpuStatus(Model):
    """GPUs of both pools."""

    budget: Count | None = None
    """What the spec allows."""
    held: Count | None = None
    """What pods hold, starting and terminating ones included."""
    allowed: Count | None = None
    """Of a shared budget: what this object may hold now."""


class ForecastStatus(Model):
    """The forecast behind the last plan."""

    model: str | None = None
    """Model that made it."""
    horizon: Duration | None = None
    """How far ahead it looks."""
    quantile: float | None = None
    """Probability that the rate stays below `requestRate`."""
    request_rate: float | None = None
    """Requests per second to size for."""
    coverage: float | None = None
    """Share of this model's past forecasts that held."""


class WorkloadStatus(Model):
    """Traffic behind the last plan: rate per second and mean lengths in tokens."""

    request_rate: float | None = None
    """Requests per second."""
    context_tokens: float | None = None
    """Prompt, history included."""
    uncached_tokens: float | None = None
    """Part of the prompt that no prefix cache held."""
    output_tokens: float | None = None
    """Generated tokens."""
    local_share: float | None = None
    """Share of uncached prompt tokens that decode replicas computed themselves."""


class PlanStep(Model):
    """One stage's verdict."""

    reason: str
    """Why the stage changed the targets, or refused to."""
    prefill: Count
    """Prefill replicas after it."""
    decode: Count
    """Decode replicas after it."""
    note: str | None = None
    """Figures behind it."""


class PlanStatus(Model):
    """The last plan and every step that led to it."""

    prefill: Count
    """Prefill replicas wanted."""
    decode: Count
    """Decode replicas wanted."""
    trail: list[PlanStep] = Field(default_factory=list)
    """Steps, first to last."""
    time: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None
    """When the plan changed last."""


class DemandStatus(Model):
    """What the traffic needs of one role, and what one replica of it carries."""

    replicas: float | None = None
    """Replicas needed, as a fraction; absent where no number of them meets the SLO."""
    request_rate: float | None = None
    """Rounds per second that one replica carries within the SLO; absent where rounds are no work for it."""
    limit: str
    """What keeps it from carrying more: TTFT, TPOT, KVMemory, Network, Sequences or Load."""


class DemandsStatus(Model):
    """The need behind the last plan."""

    prefill: DemandStatus
    """Of prefill replicas."""
    decode: DemandStatus
    """Of decode replicas."""


class ProfileStatus(Model):
    """How far the profile was off, by the pace of engines."""

    prefill_factor: float
    """Prefills take so many times what it says."""
    decode_factor: float
    """Decode steps take so many times what it says."""


class ProposalStatus(Model):
    """A plan that waits for approval, or that was approved and is being carried out."""

    id: str
    """Its name; the annotation `pdscale.io/approve` with this value approves it."""
    prefill: Count
    """Prefill replicas proposed."""
    decode: Count
    """Decode replicas proposed."""
    expires: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When it is replaced, if nobody has approved it."""
    generation: Count
    """Generation of the spec that it was planned for; an edit of the spec ends it."""
    approved: bool
    """Whether somebody approved it."""


class Change(Model):
    """One change of the replicas that the operator has made."""

    time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When."""
    prefill: str
    """Prefill replicas, as `BEFORE -> AFTER`."""
    decode: str
    """Decode replicas, as `BEFORE -> AFTER`."""
    reasons: list[str]
    """The plan's steps, first to last."""


class KvBlocksTtlStatus(Model):
    """How long decode engines keep the KV of a round that ended."""

    in_force: Duration
    """What the engines' pods were made with."""
    observed: Duration | None = None
    """Within this, 95 % of the sessions' pauses end; 10s to 480s. The next change of the pods takes it."""


class WriterStatus(Model):
    """The operator process that wrote last, where several elect one."""

    holder: str
    """Identity by which it holds the Lease: its pod and a part of its own."""
    term: Count
    """How often the Lease had changed hands; of one object it only grows."""


class Status(Model):
    """What the operator saw and did last."""

    observed_generation: Count | None = None
    """Generation of the spec that the rest speaks of."""
    conditions: list[Condition] = Field(
        default_factory=list, json_schema_extra={LIST_TYPE: "map", LIST_KEYS: ["type"]}
    )
    """State by aspect; `Ready` sums up."""
    prefill: PoolStatus | None = None
    """Prefill replicas."""
    decode: PoolStatus | None = None
    """Decode replicas."""
    gpus: GpuStatus | None = None
    """GPUs of both pools."""
    forecast: ForecastStatus | None = None
    """The forecast behind the last plan."""
    workload: WorkloadStatus | None = None
    """Traffic behind the last plan."""
    plan: PlanStatus | None = None
    """The last plan."""
    demand: DemandsStatus | None = None
    """What the expected traffic needs."""
    profile: ProfileStatus | None = None
    """What the profile was corrected by; absent while engines tell nothing or nobody corrects it."""
    proposal: ProposalStatus | None = None
    """What waits for approval."""
    kv_blocks_ttl: KvBlocksTtlStatus | None = None
    """How long KV waits for a session's next round."""
    history: Annotated[list[Change], Field(max_length=5)] | None = None
    """The last changes of the replicas, the newest first."""
    took_replicas: str | None = None
    """Value of the annotation `pdscale.io/take-replicas` that was obeyed last."""
    writer: WriterStatus | None = None
    """Who wrote this."""
