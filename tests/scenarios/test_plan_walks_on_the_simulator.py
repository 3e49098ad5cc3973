"""The walk from a first fleet to the cheapest that attains, with a simulator whose answers are known."""

import math
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pdscale.model.pools import Targets
from pdscale.perf.capacity import Capacity, Limit
from pdscale.scaling.demand import Demand
from pdscale.scenarios.plans.asked import Asked, Kind, asked
from pdscale.scenarios.plans.choosing import Candidate, Choice, candidate
from pdscale.scenarios.plans.needs import Pair
from pdscale.scenarios.plans.trying import Trials, attaining, refine
from pdscale.sim.judge import Spread, Verdict
from pdscale.sim.traffic import Traffic

GPUS: Final = 48
COUNTS: Final = st.integers(1, 9)
NOBODY: Final = Traffic.of([])


def wanted(**flags: Any) -> Asked:
    return asked({"gpus": str(GPUS), "runs": "400", **{name: str(value) for name, value in flags.items()}})


def pair(name: str = "one", gpus: tuple[int, int] = (1, 1)) -> Pair:
    need = Demand(1.0, 1.0, Capacity(1, Limit.TTFT), Capacity(1, Limit.TPOT))
    return Pair(Kind(name, gpus[0]), Kind(name, gpus[1]), (1.0,), (need,))


def verdict(ttft: float, tpot: float) -> Verdict:
    nothing = Spread.of([])
    return Verdict(
        rounds=100,
        served=100,
        rate=1.0,
        attainment=min(ttft, tpot),
        ttft_attainment=ttft,
        tpot_attainment=tpot,
        strict_attainment=0.0,
        goodput=0.0,
        ttft=nothing,
        tpot=nothing,
        local_share=0.0,
        moved_tokens=0,
        computed_tokens=0,
        gpu_hours=0.0,
        changes=0,
    )


class Known(Trials):
    """Each role attains what it has of what it needs: ``truth`` by the kind's name."""

    truth: dict[str, Targets]

    def _run(self, wanted: Candidate, seed: int) -> Verdict:
        needed, fleet = self.truth[wanted.pair.prefill.name], wanted.fleet
        return verdict(min(1.0, fleet.prefill / needed.prefill), min(1.0, fleet.decode / needed.decode))


def refined(choices: list[Candidate], truth: dict[str, Targets], **flags: Any) -> Known:
    trials = Known(wanted(**flags), {1: NOBODY}, lambda done, share: None)
    trials.truth = truth
    refine([Choice(c, c.gpus) for c in choices], trials)
    return trials


def begin(fleet: Targets, of: Pair) -> Candidate:
    return candidate(of, fleet, wanted())


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from([(1, 1), (1, 2), (4, 1)]))
@example(prefill=9, decode=1, p=1, d=9, each=(4, 1))
def test_wherever_it_begins_it_ends_at_the_smallest_fleet_that_attains(
    prefill: int, decode: int, p: int, d: int, each: tuple[int, int]
) -> None:
    of, needed = pair(gpus=each), Targets(p, d)
    trials = refined([begin(Targets(prefill, decode), of)], {"one": needed}, attainment="0.999")
    assert attaining(trials)[0].candidate.fleet == needed


def test_where_all_gpus_are_held_replicas_change_sides() -> None:
    trials = refined([begin(Targets(6, 2), pair())], {"one": Targets(3, 5)}, gpus=8)
    assert attaining(trials)[0].candidate.fleet == Targets(3, 5)


def test_nothing_is_simulated_beyond_the_gpus_and_below_the_bounds() -> None:
    trials = refined([begin(Targets(4, 4), pair())], {"one": Targets(9, 9)}, gpus=10, min_decode=3)
    fleets = [trial.candidate.fleet for trial in trials.done.values()]
    assert all(fleet.prefill + fleet.decode <= 10 and fleet.decode >= 3 for fleet in fleets)
    assert not attaining(trials)


def test_a_pair_that_would_need_more_than_a_known_plan_is_not_followed_up() -> None:
    cheap, dear = pair("cheap"), pair("dear")
    truth = {"cheap": Targets(2, 2), "dear": Targets(8, 8)}
    trials = refined([begin(Targets(2, 2), cheap), begin(Targets(3, 3), dear)], truth)
    dearer = [t.candidate.gpus for t in trials.done.values() if t.candidate.pair is dear]
    assert dearer == [6]


def test_walks_end_with_the_runs() -> None:
    trials = refined([begin(Targets(1, 1), pair())], {"one": Targets(9, 9)}, runs=5)
    assert len(trials.done) == 5


def test_attainment_is_the_mean_over_the_seeds() -> None:
    trials = Known(wanted(), {1: NOBODY, 2: NOBODY}, lambda done, share: None)
    trials.truth = {"one": Targets(2, 2)}
    trial = trials.of(begin(Targets(1, 2), pair()))
    assert trial is not None
    assert len(trial.verdicts) == 2
    assert trial.attainment == pytest.approx(0.5)
    assert not math.isnan(trial.tpot_attainment)
