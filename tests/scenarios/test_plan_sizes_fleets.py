"""The formulas' part of a plan: windows, needs, the table of fleets, and what is said where none does."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.pools import Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import Workload
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.capacity import Capacity, Limit
from pdscale.scaling.demand import Demand
from pdscale.scaling.rivals.clairvoyant import Coming, Foresight
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.plans.asked import Asked, Kind, asked, kind
from pdscale.scenarios.plans.choosing import Choice, choose
from pdscale.scenarios.plans.needs import Pair, Windows, pairs_of, windows_of

NO_WINDOWS: Final = Windows(60.0, 60.0, ())
NEEDS: Final = st.lists(st.tuples(st.floats(0.01, 9), st.floats(0.01, 9)), min_size=1, max_size=12)


def wanted(**flags: Any) -> Asked:
    given = {"gpus": "16", **{name: str(value) for name, value in flags.items()}}
    return asked({**given, "profile": [given["profile"]] if "profile" in given else []})


def pair(*needs: tuple[float, float], gpus: tuple[int, int] = (1, 1)) -> Pair:
    """A window of equal weight for each (prefill, decode) need."""
    demands = tuple(Demand(p, d, Capacity(1, Limit.TTFT), Capacity(1, Limit.KV_MEMORY)) for p, d in needs)
    weights = (1 / len(needs),) * len(needs)
    return Pair(Kind("prefilling", gpus[0]), Kind("decoding", gpus[1]), weights, demands)


def chosen(of: Pair, **flags: Any) -> Choice:
    found = choose(of, wanted(**flags))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("raw", "name", "gpus"),
    [
        pytest.param("llama-3.1-8b-h100", "llama-3.1-8b-h100", 1, id="built in, one GPU"),
        pytest.param("llama-3.1-70b-h100-tp4", "llama-3.1-70b-h100-tp4", 4, id="degree in the name"),
        pytest.param("llama-2-70b-a100-tp8-2023", "llama-2-70b-a100-tp8-2023", 8, id="degree inside it"),
        pytest.param("profiles/grid_8b_tp2.csv.gz", "profiles/grid_8b_tp2.csv.gz", 2, id="file"),
        pytest.param("profiles/mine.json=16", "profiles/mine.json", 16, id="said"),
        pytest.param("llama-3.1-70b-h100-tp4=5", "llama-3.1-70b-h100-tp4", 5, id="said otherwise"),
    ],
)
def test_a_profile_says_its_gpus_by_name_or_is_told(raw: str, name: str, gpus: int) -> None:
    assert kind(raw) == Kind(name, gpus)


@pytest.mark.parametrize("raw", ["mine.json", "tp4/mine.json", "mine.json=0"])
def test_gpus_of_a_replica_are_never_guessed(raw: str) -> None:
    with pytest.raises(ValueError, match=r"GPUs of a replica|at least 1 GPU"):
        kind(raw)


def test_windows_share_the_rounds_and_leave_silence_out() -> None:
    future = Foresight([Coming(at, 100, 100, 10) for at in (1.0, 2.0, 3.0, 130.0)])
    found = windows_of(future, start=0.0, stop=180.0, length=60.0)
    assert found.seconds == 60.0
    assert [w.request_rate for w in found.workloads] == [3 / 60, 1 / 60]
    assert found.weights == (0.75, 0.25)


def test_without_an_end_windows_reach_to_the_last_round() -> None:
    future = Foresight([Coming(at, 100, 100, 10) for at in (0.0, 50.0, 300.0)])
    found = windows_of(future, start=0.0, stop=math.inf, length=60.0)
    assert found.span == pytest.approx(300.0, abs=1e-3)
    assert sum(w.request_rate for w in found.workloads) * found.seconds == pytest.approx(3)


def test_rounds_of_one_instant_are_spread_over_a_second() -> None:
    future = Foresight([Coming(0.0, 100, 100, 10)] * 5)
    found = windows_of(future, start=0.0, stop=math.inf, length=60.0)
    assert (len(found.workloads), found.seconds) == (1, 1.0)


def test_a_burst_shorter_than_a_window_is_not_thinned_to_its_length() -> None:
    future = Foresight([Coming(at / 10, 100, 100, 10) for at in range(50)])
    found = windows_of(future, start=0.0, stop=5.0, length=60.0)
    assert [w.request_rate for w in found.workloads] == [10.0]


def test_a_long_trace_gets_longer_windows_instead_of_more() -> None:
    future = Foresight([Coming(3600.0 * hour, 100, 100, 10) for hour in range(240)])
    assert windows_of(future, start=0.0, stop=240 * 3600.0, length=60.0).seconds == 1200.0


@given(NEEDS, st.tuples(st.integers(1, 4), st.integers(1, 4)), st.integers(8, 24))
def test_no_fleet_that_carries_enough_has_fewer_gpus(
    needs: list[tuple[float, float]], each: tuple[int, int], gpus: int
) -> None:
    of = pair(*needs, gpus=each)
    found = chosen(of, gpus=gpus, attainment=0.8)
    fleets = [Targets(p, d) for p in range(1, gpus) for d in range(1, gpus)]
    inside = [f for f in fleets if of.gpus.held_by(f) <= gpus]
    enough = [of.gpus.held_by(f) for f in inside if of.carried(f) >= 0.8 - 1e-9]
    if enough:
        assert (found.constraint, found.best.gpus) == (None, min(enough))
    else:
        assert found.constraint is not None
        assert found.best.gpus <= gpus < found.needed


@given(NEEDS, st.integers(1, 9), st.integers(1, 9))
def test_what_binds_is_above_its_limit_exactly_where_too_little_is_carried(
    needs: list[tuple[float, float]], prefill: int, decode: int
) -> None:
    of, fleet = pair(*needs), Targets(prefill, decode)
    assert (of.binding(fleet, 0.8).load <= 1 + 1e-9) == (of.carried(fleet) >= 0.8 - 1e-9)


@given(NEEDS)
def test_more_gpus_never_make_a_plan_larger_or_worse(needs: list[tuple[float, float]]) -> None:
    found = [chosen(pair(*needs), gpus=gpus) for gpus in (4, 8, 16)]
    for less, more in pairwise(found):
        if less.constraint is None:
            assert more.best.fleet == less.best.fleet
        assert more.best.carried >= less.best.carried


@given(NEEDS, st.floats(1.01, 3))
def test_more_load_never_needs_fewer_gpus(needs: list[tuple[float, float]], factor: float) -> None:
    plain = chosen(pair(*needs), gpus=16)
    loaded = chosen(pair(*((p * factor, d * factor) for p, d in needs)), gpus=16)
    assert loaded.needed >= plain.needed


def test_the_order_of_windows_is_irrelevant() -> None:
    needs = ((1.2, 3.0), (4.0, 0.5), (2.0, 2.0), (0.3, 0.3))
    forth, back = chosen(pair(*needs), attainment=0.7), chosen(pair(*needs[::-1]), attainment=0.7)
    assert (forth.best.fleet, str(forth.best.binding)) == (back.best.fleet, str(back.best.binding))


def test_a_single_busy_window_may_be_left_out() -> None:
    calm = [(1.0, 1.0)] * 19
    assert chosen(pair(*calm, (9.0, 9.0)), attainment=0.9).best.fleet == Targets(1, 1)
    assert chosen(pair(*calm, (7.0, 7.0)), attainment=0.96).best.fleet == Targets(7, 7)


def test_too_few_gpus_say_how_many_are_needed() -> None:
    found = chosen(pair((6.5, 3.2), gpus=(2, 4)), gpus=16)
    assert found.constraint == "--gpus 16, 30 needed"  # 7 * 2 + 4 * 4
    assert found.best.carried == 0.0
    assert found.best.gpus <= 16


def test_a_limit_that_no_number_of_replicas_meets_is_named() -> None:
    found = chosen(pair((math.inf, 2.0)))
    assert found.constraint == "one prefill replica alone misses its TTFT limit"
    assert str(found.best.binding) == "one prefill replica alone misses its TTFT limit"


def test_bounds_from_below_are_kept() -> None:
    assert chosen(pair((0.1, 0.1)), min_prefill=3, min_decode=2).best.fleet == Targets(3, 2)


def test_a_kind_that_the_gpus_do_not_hold_offers_nothing() -> None:
    assert choose(pair((1.0, 1.0), gpus=(8, 16)), wanted(gpus=16)) is None


def test_where_no_fleet_is_enough_the_best_is_balanced() -> None:
    found = chosen(pair((12.0, 6.0), (12.0, 0.1)), gpus=12)
    assert found.best.fleet == Targets(8, 4)  # two thirds of both; 11P+1D would carry no window either
    assert (found.constraint, found.needed) == ("--gpus 12, 18 needed", 18)


def test_what_more_gpus_would_do_comes_before_what_nothing_does() -> None:
    large, never = chosen(pair((12.0, 6.0)), gpus=12), chosen(pair((1.0, math.inf)), gpus=12)
    small = chosen(pair((2.0, 2.0)), gpus=12)
    assert sorted([never, large, small], key=lambda choice: choice.rank) == [small, large, never]


def kinds_of(names: Sequence[str], *, mixed: bool, windows: Windows = NO_WINDOWS) -> list[Pair]:
    profiles = {kind(name): BUILTIN[name] for name in names}
    return list(pairs_of(profiles, windows, SLO(2.0, 0.05, 0.95), mixed=mixed))


def test_profiles_are_mixed_only_where_their_kv_has_one_size() -> None:
    names = ("llama-3.1-8b-h100", "llama-3.1-8b-a100", "qwen3-32b-h100-tp2")
    found = {(p.prefill.name, p.decode.name) for p in kinds_of(names, mixed=True)}
    assert found == {(a, b) for a in names[:2] for b in names[:2]} | {(names[2], names[2])}
    apart = {(p.prefill.name, p.decode.name) for p in kinds_of(names, mixed=False)}
    assert apart == {(name, name) for name in names}


def test_each_pool_of_a_mixed_pair_needs_what_its_own_profile_says() -> None:
    windows = Windows(60.0, 60.0, (Workload(20.0, 2000, 2000, 5e6, 300, 2e5),))
    names = ("llama-3.1-8b-h100", "llama-3.1-8b-a100")
    fast, crossed, _, slow = kinds_of(names, mixed=True, windows=windows)
    assert crossed.needs[0].prefill == pytest.approx(fast.needs[0].prefill)  # their networks are alike
    assert crossed.needs[0].decode == slow.needs[0].decode
    assert fast.needs[0].prefill < slow.needs[0].prefill
    assert fast.needs[0].decode < slow.needs[0].decode


def test_gpus_that_hold_no_fleet_are_refused() -> None:
    with pytest.raises(InvalidScenario, match=r"--gpus: 3P\+1D need at least 16, got 12"):
        wanted(gpus=12, min_prefill=3, profile="llama-3.1-70b-h100-tp4")
