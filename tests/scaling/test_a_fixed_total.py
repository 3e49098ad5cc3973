"""All GPUs reserved, and a router that lets decode replicas prefill: which role each replica has."""

from dataclasses import replace

import pytest

from pdscale.model.pools import Bounds, GpusPerReplica, Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.split import carried
from pdscale.scaling.demand import Demand, demand_for
from pdscale.scaling.fixed_total import best_split
from pdscale.scaling.policy import Policy

EIGHT = Policy(
    slo=SLO(2.0, 0.05),
    prefill=Bounds(1, 8),
    decode=Bounds(1, 8),
    gpus=GpusPerReplica(1, 1),
    gpu_budget=8,
    profile=BUILTIN["llama-3.1-8b-h100"],
    reserved_gpus=8,
)
LARGE = replace(EIGHT, profile=BUILTIN["llama-3.1-70b-h100-tp4"])


def of(rate: float, prompt: float, answer: float) -> Workload:
    """Exponential lengths."""
    return Workload(rate, prompt, prompt, 2 * prompt**2, answer, 2 * answer**2)


def chosen(workload: Workload, policy: Policy, current: Targets, *, decode: float | None = None) -> Targets:
    demand = demand_for(workload, policy.profile, policy.slo)
    if decode is not None:
        demand = replace(demand, decode=decode)
    found = best_split(workload, demand, policy, total=policy.reserved_gpus, current=current)
    assert found is not None
    return found


def test_long_prompts_with_short_answers_need_no_other_split_than_reasoning() -> None:
    """By what each stage needs, four prefill replicas for the one and one for the other; decode replicas
    without streams prefill as well, so 1P+7D carries both, and nobody drains."""
    summaries, reasoning, split = of(9.0, 12_000, 45), of(2.5, 550, 5000), Targets(1, 7)
    assert demand_for(summaries, EIGHT.profile, EIGHT.slo).prefill > 3
    assert chosen(summaries, EIGHT, split) == split
    assert chosen(reasoning, EIGHT, split) == split
    assert chosen(reasoning, EIGHT, Targets(4, 4)).decode >= 6


def test_short_answers_bear_few_prefills_beside_them() -> None:
    code = of(40.0, 2048, 28)
    assert chosen(code, LARGE, Targets(1, 7)).prefill >= 6
    assert carried(Targets(1, 7), code, LARGE.profile, LARGE.slo).rate < 30


def test_a_split_stays_while_it_carries_the_load_with_the_tolerance_to_spare() -> None:
    code, now = of(1.0, 2048, 28), Targets(5, 3)
    most = carried(now, code, LARGE.profile, LARGE.slo).rate
    assert chosen(of(most / 1.11, 2048, 28), LARGE, now) == now
    assert chosen(of(most, 2048, 28), LARGE, now) != now


def test_nothing_changes_for_a_split_that_is_hardly_better() -> None:
    code, now = of(100.0, 2048, 28), Targets(6, 2)  # more than anybody carries
    best = carried(Targets(7, 1), code, LARGE.profile, LARGE.slo).rate
    gain = best / carried(now, code, LARGE.profile, LARGE.slo).rate
    assert gain > 1
    assert chosen(code, replace(LARGE, tolerance=gain - 1 + 0.01), now, decode=0.9) == now
    assert chosen(code, replace(LARGE, tolerance=gain - 1 - 0.01), now, decode=0.9) == Targets(7, 1)


def test_streams_that_are_there_keep_their_decode_replicas() -> None:
    code = of(40.0, 2048, 28)
    assert chosen(code, LARGE, Targets(4, 4), decode=4.2).decode >= 5
    assert chosen(code, LARGE, Targets(4, 4), decode=float("inf")) == Targets(1, 7)


@pytest.mark.parametrize("gpus", [GpusPerReplica(1, 2), GpusPerReplica(2, 1)])
def test_replicas_of_unequal_size_keep_the_total_and_the_bounds(gpus: GpusPerReplica) -> None:
    policy = replace(EIGHT, gpus=gpus, prefill=Bounds(2, 3), decode=Bounds(1, 3))
    found = chosen(of(5.0, 4000, 200), policy, Targets(1, 1))
    assert policy.allows(found)


def test_where_the_minimum_is_none_one_pool_may_be_the_best_split() -> None:
    reasoning, policy = of(4.2, 550, 5000), replace(EIGHT, prefill=Bounds(0, 8))
    assert chosen(reasoning, policy, Targets(1, 7)) == Targets(0, 8)
    assert chosen(of(40.0, 2048, 28), replace(LARGE, prefill=Bounds(0, 8)), Targets(0, 8)).prefill >= 6


def test_a_split_that_leaves_room_is_none() -> None:
    """Of nine GPUs 1P+7D would leave one unused, as there are seven decode replicas at most."""
    policy = replace(EIGHT, decode=Bounds(1, 7), gpu_budget=9, reserved_gpus=9)
    assert chosen(of(3.0, 550, 5000), policy, Targets(1, 7)) == Targets(2, 7)


def test_no_split_within_the_bounds_is_no_split() -> None:
    policy = replace(EIGHT, prefill=Bounds(5, 8), decode=Bounds(2, 8))
    demand = Demand(1.0, 1.0, *2 * (demand_for(of(1, 100, 100), EIGHT.profile, EIGHT.slo).prefill_capacity,))
    assert best_split(of(1, 100, 100), demand, policy, total=6, current=Targets(5, 2)) is None


def test_among_hundreds_of_replicas_two_dozen_splits_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = replace(EIGHT, prefill=Bounds(1, 400), decode=Bounds(1, 400), gpu_budget=400, reserved_gpus=400)
    looked = list[Targets]()
    monkeypatch.setattr(
        "pdscale.scaling.fixed_total.carried",
        lambda split, *more: looked.append(split) or carried(split, *more),
    )
    found = chosen(of(400.0, 12_000, 45), policy, Targets(1, 399))
    assert found.prefill + found.decode == 400
    assert len(looked) <= 26
