"""Everything that can be asked of a simulation, with its defaults: flags, and keys of a scenario file."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from pdscale.model.pools import Bounds, GpusPerReplica, Targets
from pdscale.model.slo import SLO
from pdscale.model.units import Seconds
from pdscale.router.policies import ADMIT, THRESHOLD_TOKENS
from pdscale.scaling.rivals.sighting import Limits
from pdscale.scenarios.fields import (
    Field,
    InvalidScenario,
    bandwidth,
    count,
    duration,
    number,
    one_of,
    path,
    several,
    share,
    span,
    text,
    yes_or_no,
)
from pdscale.sim.limits import Chunking


class PlacementName(StrEnum):
    """The router's policies, and engines that are not split: every replica prefills and decodes, and a
    session stays where its history is (vLLM with chunked prefill behind a router with session affinity)."""

    COST_BASED = "CostBased"
    AMPD = "AMPD"
    ALWAYS_LOCAL = "AlwaysLocal"
    ALWAYS_REMOTE = "AlwaysRemote"
    THRESHOLD = "Threshold"
    CONSERVE = "ConServe"
    TABLE = "Table"
    COLOCATED = "Colocated"


class ScalingName(StrEnum):
    """Who sets the numbers of replicas. The first three keep them; two of those are found with hindsight."""

    STATIC = "Static"
    ORACLE_STATIC = "OracleStatic"
    BEST_SPLIT = "BestSplit"
    FIXED_RATIO = "FixedRatio"
    HPA = "HPA"
    KEDA = "KEDA"
    KTHENA = "Kthena"
    DYNAMO_CLASSIC = "DynamoClassic"
    REACTIVE = "Reactive"
    DOPD = "DOPD"
    PDSCALE = "Pdscale"
    CLAIRVOYANT = "Clairvoyant"


class OrderName(StrEnum):
    """Of legs that wait in front of a prefill replica: the router's, and the textbook's by deadline."""

    FCFS = "FCFS"
    AMPD_WINDOW = "AMPDWindow"
    SHORTEST_REMAINING = "ShortestRemaining"
    EARLIEST_DEADLINE = "EarliestDeadline"


class WorkloadName(StrEnum):
    """Requests drawn from published lengths, for who has no trace at hand."""

    CONVERSATION = "conversation"
    CODE = "code"
    SUMMARY = "summary"
    CHAT = "chat"
    REASONING = "reasoning"
    PHASE_INVERSION = "phase-inversion"
    DRIFTING = "drifting"
    BURSTY = "bursty"


HELD: Final = (ScalingName.STATIC, ScalingName.ORACLE_STATIC, ScalingName.BEST_SPLIT)
ALL_PLACEMENTS: Final = tuple(PlacementName)
ALL_SCALINGS: Final = tuple(ScalingName)
GROWTH: Final = 4  # a pool may become so many times as large as it begins, unless said otherwise


@dataclass(frozen=True, slots=True)
class Settings:
    """``FIELDS`` explains the fields. Empty ``placement`` and ``scaling``: not given."""

    trace: Path | None
    workload: WorkloadName
    rate: float
    duration: Seconds
    excerpt: tuple[Seconds, Seconds] | None
    spread: Seconds
    thin: float
    lengths: float
    context: int
    fits: float
    pace: Seconds
    load: tuple[float, ...]
    profile: str
    entry: str | None
    engine: str | None
    bandwidth: float | None
    slowdown: float
    noise: float
    kv_share: float
    chunking: Chunking
    prefill: int
    decode: int
    gpus_prefill: int
    gpus_decode: int
    start_up: Seconds
    standby: int
    standby_start_up: Seconds
    flip: Seconds | None
    kv_pool: int
    load_age: Seconds
    overhead: Seconds
    placement: tuple[PlacementName, ...]
    threshold_tokens: int
    order: OrderName
    admit: int
    reject_late: bool
    history_moves: bool
    ttft: Seconds
    tpot: Seconds
    attainment: float
    ttft_stretch: float
    scaling: tuple[ScalingName, ...]
    min_prefill: int
    max_prefill: int
    min_decode: int
    max_decode: int
    gpu_budget: int
    interval: Seconds
    scale_down_window: Seconds | None
    quantile: float
    forecast: str
    utilisation: float
    warm_up: Seconds
    tail: bool
    seed: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.prefill + self.decode < 1 or self.decode < 1:
            raise InvalidScenario(
                f"decode: must be at least 1 replica, got {self.decode}; rounds are answered there"
            )
        for role, least, most, begins in (
            ("prefill", self.min_prefill, self.limits.prefill.most, self.prefill),
            ("decode", self.min_decode, self.limits.decode.most, self.decode),
        ):
            if not least <= begins <= most:
                raise InvalidScenario(
                    f"{role}: must be in min-{role}..max-{role} ({least}..{most}), got {begins}; "
                    f"widen the bounds or begin within them"
                )
        held = self.gpus.held_by(self.fleet)
        if self.limits.budget < held:
            raise InvalidScenario(
                f"gpu-budget: must be at least {held}, what {self.fleet} hold, got {self.gpu_budget}; "
                f"raise it or begin with fewer replicas"
            )

    @property
    def slo(self) -> SLO:
        return SLO(self.ttft, self.tpot, self.attainment)

    @property
    def gpus(self) -> GpusPerReplica:
        return GpusPerReplica(self.gpus_prefill, self.gpus_decode)

    @property
    def fleet(self) -> Targets:
        return Targets(self.prefill, self.decode)

    @property
    def limits(self) -> Limits:
        """What binds every scaling rule."""
        most = Targets(
            self.max_prefill or max(GROWTH * self.prefill, self.min_prefill),
            self.max_decode or max(GROWTH * self.decode, self.min_decode),
        )
        try:
            prefill = Bounds(self.min_prefill, most.prefill)
            decode = Bounds(self.min_decode, most.decode)
        except ValueError as error:
            raise InvalidScenario(f"min-prefill..max-prefill, min-decode..max-decode: {error}") from error
        return Limits(prefill, decode, self.gpus, self.gpu_budget or self.gpus.held_by(most))


def _field(name: str, read: Any, default: Any, metavar: str, says: str) -> Field:
    return Field(name, read, default, says, metavar)


FIELDS: Final[tuple[Field, ...]] = (
    _field("trace", path, None, "PATH", "request table or rate series; without it --workload is drawn"),
    _field("workload", one_of(WorkloadName), WorkloadName.CONVERSATION, "NAME", f"{', '.join(WorkloadName)}"),
    _field(
        "rate",
        number(above=0),
        4.0,
        "N",
        "requests per second of a drawn workload; sessions per second of a trace without a common clock",
    ),
    _field("duration", duration(above=0), 600.0, "TIME", "how long a drawn workload lasts"),
    _field("excerpt", span, None, "FROM..TO", "only the sessions of the trace that begin then"),
    _field("spread", duration(), 0.0, "TIME", "arrivals of one tick of the trace's clock, spread over it"),
    _field(
        "thin", number(above=0, most=1), 1.0, "SHARE", "share of sessions that is kept, drawn anew per seed"
    ),
    _field("lengths", number(above=0), 1.0, "FACTOR", "all lengths of the trace times this"),
    _field("context", count(), 0, "TOKENS", "lengths scaled down until --fits of the rounds need no more"),
    _field("fits", number(above=0, most=1), 1.0, "SHARE", "see --context; longer rounds end their session"),
    _field(
        "pace", duration(), 0.02, "TIME", "what a token took in the recording, where think times are unknown"
    ),
    _field("load", several(number(above=0)), (1.0,), "N[,N]", "session starts so many times as dense"),
    _field("profile", text, "llama-3.1-8b-h100", "PATH|NAME", "how fast a replica is: built in, or a file"),
    _field("entry", text, None, "NAME", "which engine of a profile file that holds several"),
    _field("engine", text, None, "NAME", "built-in profile whose memory and network a file of times gets"),
    _field(
        "bandwidth",
        bandwidth,
        None,
        "BANDWIDTH",
        "of a replica's network, like 25GB/s; the profile's unless given",
    ),
    _field(
        "slowdown", number(above=0), 1.0, "FACTOR", "engines take so many times as long as policies think"
    ),
    _field("noise", number(most=0.9), 0.0, "CV", "coefficient of variation of every pass"),
    _field("kv-share", number(above=0, most=1), 0.92, "SHARE", "of KV memory that engines use"),
    _field(
        "chunking",
        one_of(Chunking),
        Chunking.BUDGET,
        "NAME",
        "of prompts on decode replicas: budget or paced",
    ),
    _field("prefill", count(), 2, "N", "prefill replicas at the beginning"),
    _field("decode", count(), 3, "N", "decode replicas at the beginning"),
    _field("gpus-prefill", count(least=1), 1, "N", "GPUs of a prefill replica"),
    _field("gpus-decode", count(least=1), 1, "N", "GPUs of a decode replica"),
    _field("start-up", duration(), 60.0, "TIME", "from a replica's creation to readiness"),
    _field("standby", count(), 0, "N", "warm replicas of either role"),
    _field("standby-start-up", duration(), 5.0, "TIME", "until a warm one serves"),
    _field("flip", duration(), None, "TIME", "what a change of role takes after draining; never without it"),
    _field("kv-pool", count(), 0, "TOKENS", "shared KV pool; 0: none"),
    _field("load-age", duration(), 0.5, "TIME", "how old the loads are that routers see"),
    _field("overhead", duration(), 0.0, "TIME", "before each round is placed"),
    _field("placement", several(one_of(PlacementName)), (), "NAME[,NAME]", f"{', '.join(PlacementName)}"),
    _field("threshold-tokens", count(least=1), int(THRESHOLD_TOKENS), "N", "Threshold: remote from here on"),
    _field("order", one_of(OrderName), OrderName.SHORTEST_REMAINING, "NAME", f"{', '.join(OrderName)}"),
    _field("admit", count(least=1), ADMIT, "N", "prefill legs on an engine at a time"),
    _field("reject-late", yes_or_no, False, "true|false", "prefill gates refuse what they cannot do in time"),
    _field("history-moves", yes_or_no, True, "true|false", "prefill replicas can read a decode replica's KV"),
    _field("ttft", duration(above=0), 2.0, "TIME", "limit on a round's time to first token"),
    _field("tpot", duration(above=0), 0.05, "TIME", "limit on its mean time per output token after that"),
    _field(
        "attainment", share, 0.95, "SHARE", "of rounds that shall be within both; what oracles search for"
    ),
    _field("ttft-stretch", number(), 0.0, "N", "TTFT limit at least so many times an idle prefill"),
    _field("scaling", several(one_of(ScalingName)), (), "NAME[,NAME]", f"{', '.join(ScalingName)}"),
    _field("min-prefill", count(), 1, "N", "bounds of every scaling rule"),
    _field("max-prefill", count(), 0, "N", f"0: {GROWTH} times as many as at the beginning"),
    _field("min-decode", count(least=1), 1, "N", ""),
    _field("max-decode", count(), 0, "N", f"0: {GROWTH} times as many as at the beginning"),
    _field("gpu-budget", count(), 0, "N", "0: what the largest bounds hold"),
    _field("interval", duration(above=0), 15.0, "TIME", "Pdscale: time between decisions"),
    _field(
        "scale-down-window",
        duration(),
        None,
        "TIME",
        "Pdscale: down to the highest of so long; unless given, as long as a change costs",
    ),
    _field("quantile", number(least=0.5, most=0.999), 0.9, "SHARE", "Pdscale: of the forecast"),
    _field("forecast", text, "Auto", "NAME", "Pdscale: the forecaster's model"),
    _field("utilisation", number(above=0, most=1), 0.7, "SHARE", "HPA and Kthena: target of both metrics"),
    _field("warm-up", duration(), 0.0, "TIME", "rounds that arrive before it are not judged"),
    _field("tail", yes_or_no, False, "true|false", "judge rounds after the last session's start too"),
    _field("seed", several(count()), (1,), "N[,N]", "of all that is drawn"),
)
