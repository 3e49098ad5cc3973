import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.simulated import asked, chatter, linear, scenario, singles
from pdscale.model.quantiles import quantile
from pdscale.model.slo import SLO
from pdscale.sim.agenda import CONTROL, ENGINE, Agenda
from pdscale.sim.judge import Spread, judge, reasons
from pdscale.sim.limits import EngineSetup
from pdscale.sim.memory import KvMemory
from pdscale.sim.network import Network, Nic
from pdscale.sim.pool import KvPool
from pdscale.sim.scenario import Fleet
from pdscale.sim.search import largest_load
from pdscale.sim.simulation import simulate
from pdscale.sim.traffic import LAST, Traffic
from pdscale.workload.sessions import Session


def test_events_of_one_instant_run_by_priority_and_then_as_scheduled() -> None:
    agenda, seen = Agenda(), list[str]()
    agenda.at(2.0, ENGINE, seen.append, "later")
    agenda.at(1.0, CONTROL, seen.append, "control")
    agenda.at(1.0, ENGINE, seen.append, "first engine")
    agenda.at(1.0, ENGINE, seen.append, "second engine")
    agenda.run_until(1.5)
    assert seen == ["first engine", "second engine", "control"]
    assert agenda.now == 1.5
    agenda.step()
    assert (agenda.now, len(agenda)) == (2.0, 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "keep", "pin", "release"]), st.integers(0, 5), st.integers(1, 60)
        )
    )
)
def test_memory_never_holds_more_than_its_capacity(steps: list[tuple[str, int, int]]) -> None:
    memory, held = KvMemory(100), 0
    for what, session, tokens in steps:
        if what == "reserve":
            held += tokens if memory.reserve(tokens) else 0
        elif what == "pin":
            held += memory.pin(session)
        elif what == "release":
            memory.release(min(tokens, held))
            held -= min(tokens, held)
        elif tokens <= memory.free:
            memory.keep(session, tokens)
        assert memory.reserved == held
        assert memory.idle >= 0
        assert memory.running + memory.reserved + memory.idle <= 100


def test_the_least_recently_used_history_goes_first() -> None:
    memory = KvMemory(100)
    for session in (1, 2, 3):
        memory.keep(session, 30)
    memory.keep(1, 30)  # used again
    assert memory.reserve(30)
    assert [memory.pin(session) for session in (1, 2, 3)] == [30, 0, 30]
    assert memory.evicted == 30


def test_a_pool_forgets_the_least_recently_used_too() -> None:
    pool = KvPool(100)
    for session in (1, 2, 3):
        pool.put(session, 40)
    assert [pool.has(session) for session in (1, 2, 3)] == [0, 40, 40]
    nothing = KvPool(0)
    nothing.put(1, 40)
    assert nothing.has(1) == 0


def test_transfers_queue_at_the_sender_and_at_the_receiver() -> None:
    """Ten tokens take a second. Two from one sender follow one another, two between others do not."""
    network = Network(linear(kv_bytes_per_token=1.0, transfer_bandwidth=10.0))
    a, b, c, d = Nic(), Nic(), Nic(), Nic()
    assert network.send(10, source=a, target=b, now=0.0) == 1.0
    assert network.send(10, source=a, target=c, now=0.0) == 2.0
    assert network.send(10, source=d, target=b, now=0.5) == 2.0
    assert network.send(10, source=b, target=a, now=0.5) == 1.5  # the other direction is free
    assert network.send(10, source=None, target=c, now=0.0) == 3.0
    assert network.send(0, source=a, target=b, now=0.25) == 0.25
    assert network.tokens == 50


def test_history_and_increment_travel_before_a_remote_round_decodes() -> None:
    """1 s per 1000 tokens: the second round pulls 1001, computes 100, brings those back, and steps once."""
    model = linear(prefill=(0.0, 1e-3, 0.0), kv_bytes_per_token=1.0, transfer_bandwidth=1000.0)
    chat = Session("a", 0.0, (asked(1000, 2), asked(1101, 1, history=1002, wait=5.0)))
    result = simulate(scenario(1, 1, model), Traffic.of([chat]), seed=1)
    assert result.ttft(0) == pytest.approx(1.0 + 1.0 + 0.01)
    assert result.ttft(1) == pytest.approx(1.001 + 0.1 + 0.1 + 0.01)
    assert list(result.moved) == [1000, 1101]


def test_traffic_is_columns_of_sessions_by_start_and_name() -> None:
    a, b = (
        Session("a", 5.0, (asked(10, 1), asked(20, 0, history=11, wait=2.0))),
        Session("b", 5.0, (asked(7, 3),)),
    )
    traffic = Traffic.of([b, a, Session("empty", 0.0, ())])
    assert traffic.names == ("b", "a")
    assert [traffic.names[traffic.session[i]] for i in traffic.heads] == ["a", "b"]
    assert list(traffic.following) == [LAST, 2, LAST]
    assert list(traffic.output) == [3, 1, 1]
    assert [traffic.is_alone(i) for i in range(3)] == [True, False, False]
    faster = traffic.at_load(2.0)
    assert list(faster.begins) == [2.5, 2.5, 2.0]
    assert traffic.last_start == 5.0


@pytest.mark.parametrize(
    ("session", "complaint"),
    [
        pytest.param(Session("x", -1.0, (asked(1, 1),)), "start must be at least 0s, got -1.0s", id="start"),
        pytest.param(
            Session("x", 0.0, (asked(0, 1),)), "prompt must be at least 1 token, got 0", id="prompt"
        ),
        pytest.param(Session("x", 0.0, (asked(1, -1),)), "output must be known", id="output"),
        pytest.param(Session("x", 0.0, (asked(5, 1, history=5),)), "together below the prompt", id="history"),
        pytest.param(Session("x", 0.0, (asked(5, 1, wait=-1.0),)), "wait must be at least 0s", id="wait"),
    ],
)
def test_traffic_that_makes_no_sense_is_refused_by_name(session: Session, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Traffic.of([session])


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        pytest.param(lambda: Traffic.of([]).at_load(0), "load factor must be above 0", id="load"),
        pytest.param(lambda: Fleet(-1, 1), "fleet.prefill must be at least 0, got -1", id="fleet"),
        pytest.param(lambda: EngineSetup(linear(), kv_share=0), "kv_share must be above 0", id="share"),
        pytest.param(lambda: EngineSetup(linear(), max_batched_tokens=9), "above max_sequences", id="budget"),
        pytest.param(lambda: scenario(1, 1, load_age=-1), "scenario.load_age must be at least 0", id="age"),
        pytest.param(
            lambda: largest_load(lambda _: 1.0, target=1, low=2, high=1), "0 < low < high", id="search"
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(build, complaint: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=complaint):
        build()


def test_two_sessions_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="different keys"):
        Traffic.of([Session("x", 0.0, (asked(1, 1),)), Session("x", 1.0, (asked(1, 1),))])


def test_the_verdict_counts_everybody_who_arrived_and_strictly_those_who_stalled() -> None:
    """Three streams of 10 ms steps, one stalled for 300 ms by a prompt; one round too long for memory."""
    model = linear(prefill=(0.0, 3e-4, 0.0), kv_capacity=5000)
    rounds = [(0.0, 1, 100), (0.0001, 1, 5), (0.503, 1000, 1), (0.6, 6000, 1)]
    setup = EngineSetup(model, kv_share=1.0)
    limits = SLO(ttft=0.1, tpot=0.02)
    result = simulate(scenario(0, 1, model, slo=limits, decode=setup), singles(rounds), seed=1)
    verdict = judge(result, limits)
    assert (verdict.rounds, verdict.served) == (4, 3)
    assert verdict.ttft_attainment == 0.5  # the long prompt needs 300 ms
    assert verdict.tpot_attainment == 0.75
    assert verdict.attainment == verdict.strict_attainment == 0.5
    assert list(result.slow_gaps) == [1, 0, 0, 0]
    assert verdict.local_share == 1.0
    assert reasons(result) == {"NoPrefillReplica": 3}
    short = judge(result, limits, start=0.5, stop=0.55)
    assert (short.rounds, short.attainment) == (1, 0.0)
    assert short.rate == pytest.approx(20.0)


def test_a_tenth_of_slow_gaps_is_too_much_only_above_a_tenth() -> None:
    model = linear(prefill=(0.0, 3e-4, 0.0))
    limits = SLO(ttft=1.0, tpot=0.05)
    for gaps, strict in ((9, 0.5), (10, 1.0)):  # 1 of 9 is more than a tenth, 1 of 10 is not
        rounds = [(0.0, 1, gaps + 1), (0.035, 1000, 1)]
        result = simulate(scenario(0, 1, model, slo=limits), singles(rounds), seed=1)
        verdict = judge(result, limits)
        assert result.slow_gaps[0] == 1
        assert (verdict.attainment, verdict.strict_attainment) == (1.0, strict)


def test_percentiles_lie_between_the_closest_two() -> None:
    assert quantile([1.0, 2.0, 4.0], 0.75) == 3.0
    assert Spread.of([3.0, 1.0, 2.0]).p50 == 2.0
    assert Spread.of([]).count == 0
    assert math.isnan(Spread.of([]).p99)


@given(st.floats(0.5, 200.0))
def test_the_search_finds_the_load_at_which_attainment_breaks(knee: float) -> None:
    found = largest_load(lambda load: 1.0 if load <= knee else 0.5, target=0.9, low=0.4, high=50.0)
    assert found is not None
    assert found.load <= knee < found.at_most <= found.load * 1.021


def test_the_search_says_when_even_the_least_load_is_too_much_or_the_most_is_not() -> None:
    assert largest_load(lambda _: 0.5, target=0.9, low=1.0, high=2.0) is None
    endless = largest_load(lambda _: 1.0, target=0.9, low=1.0, high=2.0)
    assert endless is not None
    assert (endless.load, endless.at_most) == (16.0, 32.0)


def test_progress_is_told_and_ends_at_one() -> None:
    told: list[float] = []
    traffic = Traffic.of(chatter(random.Random(1), sessions=5, rate=5.0))
    simulate(scenario(1, 1), traffic, seed=1, progress=told.append)
    assert told == [0.0, 1.0]


def test_overhead_is_spent_before_a_round_is_placed_and_counts_as_ttft() -> None:
    plain, late = (
        simulate(scenario(1, 1, overhead=o), singles([(1.0, 500, 5)]), seed=1) for o in (0.0, 0.01)
    )
    assert late.ttft(0) == pytest.approx(plain.ttft(0) + 0.01)


def test_the_ttft_limit_grows_with_the_prompt_if_it_may() -> None:
    model = linear(prefill=(0.0, 1e-3, 0.0))
    plan = scenario(1, 1, model, slo=SLO(2.0, 0.05), ttft_stretch=3.0)
    result = simulate(plan, singles([(0.0, 100, 1), (0.0, 5000, 1)]), seed=1)
    assert list(result.limit) == pytest.approx([2.0, 15.0])
