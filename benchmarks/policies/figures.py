"""From outcomes to figures: who was served in time, and what the machine did meanwhile."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.policies.clients import Outcome
from benchmarks.rows import quantile
from pdscale.model.slo import SLO

_STRICT: Final = 0.1  # of a request's gaps that may be above the limit
_LATEST: Final = 0.025  # seconds; a twentieth of the slowest first token that matters, half a token's limit
_STARVED: Final = 0.05  # of the time in which an engine's process could have run and had no CPU


@dataclass(frozen=True, slots=True)
class Machine:
    """Shares of one core from the warm-up's end to the last answer; ``waited`` is that of the engine which
    waited most."""

    engines: float
    routers: float
    clients: float
    waited: float


@dataclass(frozen=True, slots=True)
class Run:
    """One policy, one draw of sessions. ``outcomes`` are those of the measured time only."""

    trace: str
    policy: str
    load: str
    seed: int
    slo: SLO
    outcomes: tuple[Outcome, ...]
    machine: Machine
    placements: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def late(self) -> float:
        """The load generator's own lateness, 99th percentile."""
        return quantile([o.late for o in self.outcomes], 0.99) if self.outcomes else 0.0

    @property
    def invalid(self) -> str:
        """Why this run says more of the machine than of the policy; empty if it does not."""
        if not self.outcomes:
            return "no requests"
        if self.late > _LATEST:
            return f"clients {self.late * 1e3:.0f} ms late, at most {_LATEST * 1e3:.0f}"
        if self.machine.waited > _STARVED:
            return (
                f"an engine waited for a core {self.machine.waited:.1%} of the time, at most {_STARVED:.0%}"
            )
        return ""


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs of a policy together. Shares are of all requests; a failed one attained nothing."""

    requests: int
    failures: dict[str, int]
    attained: float
    attained_spread: tuple[float, float]
    strict: float
    ttft_attained: float
    tpot_attained: float
    ttft: tuple[float, float, float]
    tpot: tuple[float, float, float]
    local: float
    reasons: dict[str, int]
    machine: Machine
    late: float
    invalid: tuple[str, ...]

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


def attained(outcome: Outcome, slo: SLO) -> bool:
    return _in_time(outcome, slo) and _in_pace(outcome, slo)


def strictly(outcome: Outcome, slo: SLO) -> bool:
    above = sum(gap > slo.tpot for gap in outcome.gaps)
    return attained(outcome, slo) and above <= _STRICT * len(outcome.gaps)


def summary(runs: Sequence[Run]) -> Summary:
    """Raises ``ValueError`` if no run has a request."""
    found = [(o, run.slo) for run in runs for o in run.outcomes]
    if not found:
        raise ValueError("a summary needs at least 1 request, got none")
    whole = [o for o, _ in found if not o.why]
    placed = sum((run.placements for run in runs), Counter[tuple[str, str]]())
    local = sum(n for (kind, _), n in placed.items() if kind.lower() == "local")
    return Summary(
        requests=len(found),
        failures=dict(Counter(o.why for o, _ in found if o.why)),
        attained=_share([attained(o, slo) for o, slo in found]),
        attained_spread=_spread([[attained(o, run.slo) for o in run.outcomes] for run in runs]),
        strict=_share([strictly(o, slo) for o, slo in found]),
        ttft_attained=_share([_in_time(o, slo) for o, slo in found]),
        tpot_attained=_share([_in_pace(o, slo) for o, slo in found]),
        ttft=_three([o.ttft for o, _ in found if o.ttft is not None]),
        tpot=_three([_pace(o) for o in whole if o.gaps]),
        local=local / placed.total() if placed else 0.0,
        reasons={f"{kind} {reason}": n for (kind, reason), n in placed.most_common()},
        machine=_worst([run.machine for run in runs]),
        late=max(run.late for run in runs),
        invalid=tuple(f"seed {run.seed}: {run.invalid}" for run in runs if run.invalid),
    )


def _in_time(outcome: Outcome, slo: SLO) -> bool:
    return not outcome.why and outcome.ttft is not None and outcome.ttft <= slo.ttft


def _in_pace(outcome: Outcome, slo: SLO) -> bool:
    return not outcome.why and (not outcome.gaps or _pace(outcome) <= slo.tpot)


def _pace(outcome: Outcome) -> float:
    return sum(outcome.gaps) / len(outcome.gaps)


def _share(those: Sequence[bool]) -> float:
    return sum(those) / len(those)


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    if not values:
        return (float("nan"),) * 3
    return (quantile(values, 0.5), quantile(values, 0.9), quantile(values, 0.99))


def _spread(runs: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """95 % of 1000 resamples of the runs and of the requests in them."""
    rng, shares = random.Random(1), []
    runs = [run for run in runs if run]
    for _ in range(1000):
        drawn = [one for run in rng.choices(runs, k=len(runs)) for one in rng.choices(run, k=len(run))]
        shares.append(_share(drawn))
    return quantile(shares, 0.025), quantile(shares, 0.975)


def _worst(machines: Sequence[Machine]) -> Machine:
    return Machine(*(max(getattr(m, name) for m in machines) for name in Machine.__slots__))
