"""The largest load at which a rule attains each of several targets, and the rules that questions compare.

As ``pdscale compare --goodput``, but one search for all targets: whatever was run for one of them narrows the
next. Loads are those of a lattice, each 3 % above the one below it, so that rules are compared at the same
loads and a difference is one that was run. Searched on the first seed; the others run once at the load that
was found and show how much of it was luck.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Final

from pdscale.model.slo import SLO
from pdscale.perf.profile import Profile
from pdscale.placement.correction import Correction
from pdscale.placement.policy import PlacementPolicy
from pdscale.scenarios.building import first_fleet, scenario_of
from pdscale.scenarios.engines import models_of
from pdscale.scenarios.runs import judged
from pdscale.scenarios.settings import PlacementName, ScalingName, Settings
from pdscale.scenarios.traffic import traffic_of
from pdscale.sim.judge import Verdict, judge
from pdscale.sim.simulation import simulate

STEP: Final = 1.03
COARSE: Final = 1.12  # of quick runs
Made = Callable[[Profile, SLO, Correction], PlacementPolicy]


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of a table. ``made`` is a module's function and replaces the policy of ``placement``."""

    label: str
    placement: PlacementName
    made: Made | None = None


@dataclass(frozen=True, slots=True)
class Target:
    share: float
    strict: bool = False

    def of(self, verdict: Verdict) -> float:
        return verdict.strict_attainment if self.strict else verdict.attainment

    def __str__(self) -> str:
        return f"{self.share:.0%}{' strict' if self.strict else ''}"


TARGETS: Final = (Target(0.9), Target(0.99), Target(0.9, strict=True), Target(0.99, strict=True))


@dataclass(frozen=True, slots=True)
class Search:
    """``low`` is the least load tried, ``high`` about where rules fail; twice that is the largest tried,
    since denser starts leave too few rounds to judge."""

    settings: Settings
    rule: Rule
    low: float
    high: float
    targets: tuple[Target, ...] = TARGETS
    step: float = STEP


@dataclass(frozen=True, slots=True)
class Most:
    """``verdict`` at the largest load that attains the target, ``None`` if the least one tried misses it;
    ``others`` are the further seeds' shares there. ``bound``: no load that was tried misses it."""

    load: float
    verdict: Verdict | None
    others: tuple[float, ...] = ()
    bound: bool = False

    @property
    def rate(self) -> float:
        """Rounds per second; 0 where nothing was found, which is a bound and no measurement."""
        return 0.0 if self.verdict is None else self.verdict.rate


def run(settings: Settings, rule: Rule, load: float, seed: int) -> Verdict:
    traffic = traffic_of(settings, seed).at_load(load)
    begin = first_fleet(settings, rule.placement)
    plan = scenario_of(settings, traffic, placement=rule.placement, scaling=ScalingName.STATIC, begin=begin)
    if rule.made is not None:
        made, profile = rule.made, models_of(settings).profile
        plan = replace(plan, placement=lambda correction: made(profile, settings.slo, correction))
    start, stop = judged(settings, traffic)
    return judge(simulate(plan, traffic, seed=seed), settings.slo, start=start, stop=stop)


def searched(asked: Search) -> dict[Target, Most]:
    first, *others = asked.settings.seed
    runs = _Runs(asked, first)
    checked = cache(partial(run, asked.settings, asked.rule))  # several targets often end at one load
    found: dict[Target, Most] = {}
    for target in asked.targets:
        at = runs.largest(target)
        if at is None:
            found[target] = Most(asked.low, None)
            continue
        load = runs.load(at)
        checks = tuple(target.of(checked(load, seed)) for seed in others)
        found[target] = Most(load, runs.at(at), checks, bound=at == runs.top)
    return found


@dataclass(slots=True)
class _Runs:
    """Runs of one seed by their place on the lattice."""

    asked: Search
    seed: int
    _known: dict[int, Verdict] = field(default_factory=dict)

    def load(self, at: int) -> float:
        return self.asked.low * self.asked.step**at

    @property
    def top(self) -> int:
        """The first place at twice the load that was expected to be too high."""
        return self._place(2 * self.asked.high)

    def _place(self, load: float) -> int:
        return math.ceil(math.log(load / self.asked.low) / math.log(self.asked.step))

    def at(self, at: int) -> Verdict:
        if at not in self._known:
            self._known[at] = run(self.asked.settings, self.asked.rule, self.load(at), self.seed)
        return self._known[at]

    def largest(self, target: Target) -> int | None:
        """The last place that attains it before one that does not, among those that bisection looks at."""
        if target.of(self.at(0)) < target.share:
            return None
        for at in (self._place(self.asked.high), self.top):
            if target.of(self.at(at)) < target.share:
                break
        else:
            return self.top
        misses = [at for at, verdict in self._known.items() if target.of(verdict) < target.share]
        above = min(misses)
        below = max(at for at in self._known if at < above)
        while above - below > 1:
            middle = (above + below) // 2
            if target.of(self.at(middle)) >= target.share:
                below = middle
            else:
                above = middle
        return below


def told(most: Most) -> str:
    """Rounds per second at the load found, and the other seeds' shares there."""
    if most.verdict is None:
        return "none"
    others = f" ({', '.join(f'{share * 100:.1f}' for share in most.others)})" if most.others else ""
    return f"{'at least ' * most.bound}{most.rate:.2f}{others}"
