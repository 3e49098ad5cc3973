"""Fleets on the simulator: what a plan's formulas say, corrected by a run of the very policies.

The formulas take all prefills for remote and a window for a world of its own, so they are wrong in both
directions. From a pair's fleet the search walks to a cheaper neighbour as long as one attains the target,
and to a larger one while none does: the role that misses gets replicas, at the other's expense where all
GPUs are held. Steps are an eighth of the pool, and halve on the way down. What it ends at is a fleet that
attains and that no single replica can be taken from, as far as the runs reached; it is no proof that no other
fleet is cheaper.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from pdscale.model.pools import Role, Targets
from pdscale.scenarios.building import scenario_of
from pdscale.scenarios.engines import models_of, setup_of
from pdscale.scenarios.plans.asked import Asked, of_kind
from pdscale.scenarios.plans.choosing import Candidate, Choice, Key, candidate
from pdscale.scenarios.runs import judged
from pdscale.scenarios.settings import ScalingName
from pdscale.sim.judge import Verdict, judge
from pdscale.sim.scenario import Scenario
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import Traffic

BETTER: Final = 1e-3  # of attainment; less than that may be chance
_EIGHTH: Final = 8

Tell = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A fleet that was simulated, once per seed. Shares are means over the seeds."""

    candidate: Candidate
    verdicts: tuple[Verdict, ...]

    @property
    def attainment(self) -> float:
        return self._mean([v.attainment for v in self.verdicts])

    @property
    def ttft_attainment(self) -> float:
        return self._mean([v.ttft_attainment for v in self.verdicts])

    @property
    def tpot_attainment(self) -> float:
        return self._mean([v.tpot_attainment for v in self.verdicts])

    @staticmethod
    def _mean(shares: list[float]) -> float:
        return math.fsum(shares) / len(shares)


@dataclass(slots=True)
class Trials:
    """Simulates what is asked for, nothing twice, until ``runs`` are used up."""

    asked: Asked
    traffic: dict[int, Traffic]
    tell: Tell
    done: dict[Key, Trial] = field(default_factory=dict)

    def of(self, wanted: Candidate) -> Trial | None:
        """``None`` once there are no runs left."""
        if wanted.key not in self.done:
            if len(self.done) >= self.asked.runs:
                return None
            self.done[wanted.key] = Trial(wanted, tuple(self._run(wanted, seed) for seed in self.traffic))
        return self.done[wanted.key]

    def _run(self, wanted: Candidate, seed: int) -> Verdict:
        settings, traffic = self.asked.settings, self.traffic[seed]
        before = len(self.done) * len(self.traffic) + list(self.traffic).index(seed)
        result = simulate(
            scenario(self.asked, wanted, traffic),
            traffic,
            seed=seed,
            progress=lambda share: self.tell(before, share),
        )
        start, stop = judged(settings, traffic)
        return judge(result, settings.slo, start=start, stop=stop)


def scenario(asked: Asked, wanted: Candidate, traffic: Traffic) -> Scenario:
    """As ``pdscale compare`` has it for a static fleet of the decode profile; prefill engines and gates take
    their times from the prefill profile."""
    pair, fleet = wanted.pair, wanted.fleet
    settings = replace(
        of_kind(asked.settings, pair.decode),
        prefill=fleet.prefill,
        decode=fleet.decode,
        gpus_prefill=pair.prefill.gpus,
        gpus_decode=pair.decode.gpus,
    )
    found = scenario_of(settings, traffic, placement=asked.placement, scaling=ScalingName.STATIC)
    if not pair.mixed:
        return found
    models = models_of(of_kind(asked.settings, pair.prefill))
    return replace(
        found,
        prefill=setup_of(settings, models.engine),
        gate_seconds=models.profile.prefill_seconds,
    )


def refine(choices: list[Choice], trials: Trials) -> None:
    """The best of each of the first pairs once, so that there is something to compare; then, best pair first,
    a walk from each. Results stand in ``trials``."""
    first = choices[: trials.asked.pairs]
    for choice in first:
        trials.of(choice.best)
    for choice in first:
        _walk(choice.best, trials)


def attaining(trials: Trials) -> list[Trial]:
    """Trials that attain the target, cheapest first, and one profile before two."""
    target = trials.asked.settings.attainment
    found = [t for t in trials.done.values() if t.attainment >= target]
    return sorted(
        found, key=lambda t: (t.candidate.cost, t.candidate.pair.mixed, -t.attainment, t.candidate.key)
    )


def _walk(start: Candidate, trials: Trials) -> None:
    found = _up(start, trials)
    if found is not None:
        _down(found, trials)


def _up(start: Candidate, trials: Trials) -> Trial | None:
    """The first fleet on the way up that attains the target and is cheaper than any found elsewhere."""
    target, now = trials.asked.settings.attainment, trials.of(start)
    while now is not None and now.attainment < target:
        now = _better(now, trials)
    return now


def _better(now: Trial, trials: Trials) -> Trial | None:
    """A neighbour that attains more. Where neither role alone helps, both may be short: then the better one
    that holds more GPUs, so that the way ends where the GPUs do."""
    missing = _missing(now)
    tried: list[Trial] = []
    for role in (missing, _other(missing)):
        wanted = _larger(now.candidate, role, trials)
        trial = None if wanted is None else trials.of(wanted)
        if trial is not None and trial.attainment >= now.attainment + BETTER:
            return trial
        if trial is not None and trial.candidate.gpus > now.candidate.gpus:
            tried.append(trial)
    return max(tried, key=lambda t: t.attainment, default=None)


def _larger(now: Candidate, short: Role, trials: Trials) -> Candidate | None:
    """More replicas of the role that misses; where the GPUs are all held, at the other role's expense."""
    step = _step(now.fleet.of(short))
    found = _changed(now, short, step, trials) or _changed(now, short, 1, trials)
    if found is not None:
        return found
    gpus, spare = now.pair.gpus, trials.asked.gpus - now.gpus
    given = max(1, math.ceil((gpus.of(short) - spare) / gpus.of(_other(short))))
    less = _changed(now, _other(short), -given, trials)
    return None if less is None else _changed(less, short, 1, trials)


def _other(role: Role) -> Role:
    return Role.DECODE if role is Role.PREFILL else Role.PREFILL


def _missing(trial: Trial) -> Role:
    return Role.PREFILL if trial.ttft_attainment < trial.tpot_attainment else Role.DECODE


def _down(start: Trial, trials: Trials) -> None:
    target, now = trials.asked.settings.attainment, start
    step = {role: _step(now.candidate.fleet.of(role)) for role in Role}
    while any(step.values()):
        pair = now.candidate.pair
        role = max((r for r in Role if step[r]), key=lambda r: (step[r] * pair.cost_of(r), r))
        smaller = _changed(now.candidate, role, -step[role], trials)
        after = None if smaller is None else trials.of(smaller)
        if after is not None and after.attainment >= target:
            now = after
        else:
            step[role] //= 2


def _changed(now: Candidate, role: Role, by: int, trials: Trials) -> Candidate | None:
    """``None`` where it is outside the bounds, or not smaller than a fleet that is known to do."""
    asked, fleet, gpus = trials.asked, now.fleet, now.pair.gpus
    count = fleet.of(role) + by
    if count < (asked.min_prefill if role is Role.PREFILL else asked.min_decode):
        return None
    prefill, decode = (count, fleet.decode) if role is Role.PREFILL else (fleet.prefill, count)
    changed = Targets(prefill, decode)
    known = attaining(trials)
    if gpus.held_by(changed) > asked.gpus:
        return None
    if known and by > 0 and now.pair.cost(changed) >= known[0].candidate.cost:
        return None
    return candidate(now.pair, changed, asked)


def _step(replicas: int) -> int:
    return max(1, replicas // _EIGHTH)
