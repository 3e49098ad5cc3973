"""Everything that can be asked of a simulation, with its defaults: flags, and keys of a scenario file."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

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
    flag,
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
    FEWEST_LATE = "FewestLate"
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
    load_asking: bool
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
    reserved_gpus: int
    spare_prefill: int
    spare_decode: int
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
        if self.reserved_gpus > self.limits.budget:
            raise InvalidScenario(
                f"reserved-gpus: must be at most the budget of {self.limits.budget}, got "
                f"{self.reserved_gpus}; raise gpu-budget or reserve fewer"
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


FIELDS: Final[tuple[Field, ...]] = (
    flag("trace", path, None, "PATH", "request table or rate series; without it --workload is drawn"),
    flag("workload", one_of(WorkloadName), WorkloadName.CONVERSATION, "NAME", f"{', '.join(WorkloadName)}"),
    flag(
        "rate",
        number(above=0),
        4.0,
        "N",
        "requests per second of a drawn workload; sessions per second of a trace without a common clock",
    ),
    flag("duration", duration(above=0), 600.0, "TIME", "how long a drawn workload lasts"),
    flag("excerpt", span, None, "FROM..TO", "only the sessions of the trace that begin then"),
    flag("spread", duration(), 0.0, "TIME", "arrivals of one tick of the trace's clock, spread over it"),
    flag(
        "thin", number(above=0, most=1), 1.0, "SHARE", "share of sessions that is kept, drawn anew per seed"
    ),
    flag("lengths", number(above=0), 1.0, "FACTOR", "all lengths of the trace times this"),
    flag("context", count(), 0, "TOKENS", "lengths scaled down until --fits of the rounds need no more"),
    flag("fits", number(above=0, most=1), 1.0, "SHARE", "see --context; longer rounds end their session"),
    flag(
        "pace", duration(), 0.02, "TIME", "what a token took in the recording, where think times are unknown"
    ),
    flag("load", several(number(above=0)), (1.0,), "N[,N]", "session starts so many times as dense"),
    flag("profile", text, "llama-3.1-8b-h100", "PATH|NAME", "how fast a replica is: built in, or a file"),
    flag("entry", text, None, "NAME", "which engine of a profile file that holds several"),
    flag("engine", text, None, "NAME", "built-in profile whose memory and network a file of times gets"),
    flag(
        "bandwidth",
        bandwidth,
        None,
        "BANDWIDTH",
        "of a replica's network, like 25GB/s; the profile's unless given",
    ),
    flag("slowdown", number(above=0), 1.0, "FACTOR", "engines take so many times as long as policies think"),
    flag("noise", number(most=0.9), 0.0, "CV", "coefficient of variation of every pass"),
    flag("kv-share", number(above=0, most=1), 0.92, "SHARE", "of KV memory that engines use"),
    flag(
        "chunking",
        one_of(Chunking),
        Chunking.BUDGET,
        "NAME",
        "of prompts on decode replicas: budget or paced",
    ),
    flag("prefill", count(), 2, "N", "prefill replicas at the beginning"),
    flag("decode", count(), 3, "N", "decode replicas at the beginning"),
    flag("gpus-prefill", count(least=1), 1, "N", "GPUs of a prefill replica"),
    flag("gpus-decode", count(least=1), 1, "N", "GPUs of a decode replica"),
    flag("start-up", duration(), 60.0, "TIME", "from a replica's creation to readiness"),
    flag("standby", count(), 0, "N", "warm replicas of either role"),
    flag("standby-start-up", duration(), 5.0, "TIME", "until a warm one serves"),
    flag("flip", duration(), None, "TIME", "what a change of role takes after draining; never without it"),
    flag("kv-pool", count(), 0, "TOKENS", "shared KV pool; 0: none"),
    flag("load-age", duration(), 1.5, "TIME", "how old the loads may be that routers see"),
    flag(
        "load-asking", yes_or_no, True, "true|false", "prefill replicas are asked for theirs before a round"
    ),
    flag("overhead", duration(), 0.0, "TIME", "before each round is placed"),
    flag("placement", several(one_of(PlacementName)), (), "NAME[,NAME]", f"{', '.join(PlacementName)}"),
    flag("threshold-tokens", count(least=1), int(THRESHOLD_TOKENS), "N", "Threshold: remote from here on"),
    flag("order", one_of(OrderName), OrderName.FEWEST_LATE, "NAME", f"{', '.join(OrderName)}"),
    flag("admit", count(least=1), ADMIT, "N", "prefill legs on an engine at a time"),
    flag("reject-late", yes_or_no, False, "true|false", "prefill gates refuse what they cannot do in time"),
    flag("history-moves", yes_or_no, True, "true|false", "prefill replicas can read a decode replica's KV"),
    flag("ttft", duration(above=0), 2.0, "TIME", "limit on a round's time to first token"),
    flag("tpot", duration(above=0), 0.05, "TIME", "limit on its mean time per output token after that"),
    flag("attainment", share, 0.95, "SHARE", "of rounds that shall be within both; what oracles search for"),
    flag("ttft-stretch", number(), 0.0, "N", "TTFT limit at least so many times an idle prefill"),
    flag("scaling", several(one_of(ScalingName)), (), "NAME[,NAME]", f"{', '.join(ScalingName)}"),
    flag("min-prefill", count(), 1, "N", "bounds of every scaling rule"),
    flag("max-prefill", count(), 0, "N", f"0: {GROWTH} times as many as at the beginning"),
    flag("min-decode", count(least=1), 1, "N", ""),
    flag("max-decode", count(), 0, "N", f"0: {GROWTH} times as many as at the beginning"),
    flag("gpu-budget", count(), 0, "N", "0: what the largest bounds hold"),
    flag("reserved-gpus", count(), 0, "N", "Pdscale: so many are always used; the ratio follows the load"),
    flag("spare-prefill", count(), 0, "N", "Pdscale: replicas beyond the need"),
    flag("spare-decode", count(), 0, "N", "Pdscale: replicas beyond the need"),
    flag("interval", duration(above=0), 15.0, "TIME", "Pdscale: time between decisions"),
    flag(
        "scale-down-window",
        duration(),
        None,
        "TIME",
        "Pdscale: down to the highest of so long; unless given, as long as a change costs",
    ),
    flag("quantile", number(least=0.5, most=0.999), 0.9, "SHARE", "Pdscale: of the forecast"),
    flag("forecast", text, "Auto", "NAME", "Pdscale: the forecaster's model"),
    flag("utilisation", number(above=0, most=1), 0.7, "SHARE", "HPA and Kthena: target of both metrics"),
    flag("warm-up", duration(), 0.0, "TIME", "rounds that arrive before it are not judged"),
    flag("tail", yes_or_no, False, "true|false", "judge rounds after the last session's start too"),
    flag("seed", several(count()), (1,), "N[,N]", "of all that is drawn"),
)
