"""From what was asked to a plan: windows, needs, choices by the formulas, trials on the simulator."""

from dataclasses import dataclass
from functools import cached_property

from pdscale.model.units import Seconds
from pdscale.scenarios.engines import models_of
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.plans.asked import Asked, of_kind
from pdscale.scenarios.plans.choosing import Candidate, Choice, choose
from pdscale.scenarios.plans.needs import Windows, pairs_of, windows_of
from pdscale.scenarios.plans.trying import Tell, Trial, Trials, attaining, refine
from pdscale.scenarios.runs import judged
from pdscale.scenarios.traffic import foreseen, traffic_of
from pdscale.sim.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Alternative:
    """A fleet that was looked at; ``trial`` is ``None`` where it was not simulated."""

    candidate: Candidate
    trial: Trial | None


@dataclass(frozen=True)
class Plan:
    """``choices`` best first, one for each pair of profiles that the GPUs hold. ``trials`` are empty where
    nothing was simulated."""

    asked: Asked
    windows: Windows
    choices: tuple[Choice, ...]
    trials: tuple[Trial, ...]

    @cached_property
    def chosen(self) -> Alternative | None:
        """The cheapest fleet that attains the target; ``None`` if none is known, and ``constraint`` says
        why."""
        if self.trials:
            best = self.trials[0]
            return Alternative(best.candidate, best) if self._does(best) else None
        first = self.choices[0]
        return Alternative(first.best, None) if first.constraint is None else None

    @property
    def constraint(self) -> str | None:
        if self.chosen is not None:
            return None
        if not self.trials or self.choices[0].constraint is not None:
            return self.choices[0].constraint
        best, asked = self.trials[0], self.asked
        missed = f"TTFT {best.ttft_attainment:.1%}, TPOT {best.tpot_attainment:.1%} in the simulator"
        used = f"; all --runs {asked.runs} are used up" if len(self.trials) >= asked.runs else ""
        return f"{missed}{used}"

    @cached_property
    def alternatives(self) -> tuple[Alternative, ...]:
        """Simulated ones first: those that attain by GPUs, then the others by what they attain; then the
        formulas' own, each pair's best before what less would do."""
        found = [Alternative(t.candidate, t) for t in self.trials]
        seen = {t.candidate.key for t in self.trials}
        own = [*(c.best for c in self.choices), *(c.less for c in self.choices if c.less is not None)]
        return (*found, *(Alternative(c, None) for c in own if c.key not in seen))

    def hours(self, gpus: float) -> float:
        """GPU-hours of a fleet that holds so many for as long as rounds are judged, or what it costs then at
        so much an hour."""
        return gpus * self.windows.span / 3600

    def _does(self, trial: Trial) -> bool:
        return trial.attainment >= self.asked.settings.attainment


def plan(asked: Asked, tell: Tell, *, on_simulator: bool) -> Plan:
    """``tell`` hears how many runs are done, and the share of the next."""
    traffic = {seed: _traffic(asked, seed) for seed in asked.settings.seed}
    windows = _windows(asked, next(iter(traffic.values())))
    choices = _choices(asked, windows)
    trials = Trials(asked, traffic, tell)
    if on_simulator:
        refine(choices, trials)
    does = attaining(trials)
    others = sorted(
        (t for t in trials.done.values() if t not in does),
        key=lambda t: (-t.attainment, t.candidate.cost, t.candidate.key),
    )
    return Plan(asked, windows, tuple(choices), (*does, *others))


def _traffic(asked: Asked, seed: int) -> Traffic:
    return traffic_of(asked.settings, seed).at_load(asked.load)


def _windows(asked: Asked, traffic: Traffic) -> Windows:
    """Of the first seed."""
    settings = asked.settings
    start, stop = judged(settings, traffic)
    pace: Seconds = settings.tpot / 2
    found = windows_of(foreseen(traffic, pace=pace), start=start, stop=stop, length=asked.window)
    if not found.workloads:
        raise InvalidScenario(
            f"--warm-up: no round arrives after {settings.warm_up:g}s; shorten it or widen the traffic"
        )
    return found


def _choices(asked: Asked, windows: Windows) -> list[Choice]:
    settings = asked.settings
    profiles = {kind: models_of(of_kind(settings, kind)).profile for kind in asked.kinds}
    pairs = pairs_of(profiles, windows, settings.slo, mixed=asked.mixed)
    found = [choice for pair in pairs if (choice := choose(pair, asked)) is not None]
    if not found:
        raise InvalidScenario(
            f"--gpus: {asked.gpus} hold no fleet of {asked.min_prefill}P+{asked.min_decode}D; raise it or "
            f"name profiles with fewer GPUs"
        )
    return sorted(found, key=lambda choice: choice.rank)
