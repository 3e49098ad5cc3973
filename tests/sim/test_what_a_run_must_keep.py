"""Laws that hold for every scenario: nothing lost, nothing invented, nothing left to chance."""

import os
import random
import subprocess
import sys
from array import array
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.simulated import LLAMA_8B, chatter, remains, scenario, singles, with_fleet
from pdscale.model.pools import Role
from pdscale.model.slo import SLO
from pdscale.placement.admission import Admission
from pdscale.placement.ampd import AMPD
from pdscale.placement.baselines import AlwaysLocal, AlwaysRemote, ConServe, Threshold
from pdscale.placement.cost import CostBased
from pdscale.placement.fewest_late import FewestLate
from pdscale.placement.ordering import FCFS, AMPDWindow, EarliestDeadline, ShortestRemaining, Sorted
from pdscale.placement.table import table_of
from pdscale.sim.limits import Chunking, EngineSetup
from pdscale.sim.records import NONE, Outcome, Result
from pdscale.sim.scenario import Fault, Scenario
from pdscale.sim.simulation import Simulation, simulate
from pdscale.sim.traffic import Traffic

LIMITS = SLO(1.0, 0.02)
SMALL = replace(LLAMA_8B, kv_capacity=20_000)  # a few long conversations fill it

PLACEMENTS = {
    "AlwaysLocal": lambda _: AlwaysLocal(),
    "AlwaysRemote": lambda _: AlwaysRemote(),
    "Threshold": lambda _: Threshold(300),
    "ConServe": lambda _: ConServe(),
    "Table": lambda _: table_of(LLAMA_8B),
    "AMPD": lambda _: AMPD(LLAMA_8B, LIMITS),
    "CostBased": lambda correction: CostBased(LLAMA_8B, LIMITS, correction),
}
COLUMNS = (
    "arrived",
    "first_token",
    "finished",
    "limit",
    "slow_gaps",
    "computed",
    "reused",
    "moved",
    "outcome",
    "local",
    "reason",
    "decode",
    "prefill",
)


def chats(seed: int = 1, sessions: int = 120, rate: float = 8.0) -> Traffic:
    return Traffic.of(chatter(random.Random(seed), sessions=sessions, rate=rate))


def kept_books(plan: Scenario, traffic: Traffic) -> Result:
    """Run, and check what holds whatever happens."""
    simulation = Simulation(plan, traffic, 1)
    result = simulation.run()
    assert remains(simulation) == []
    assert Outcome.UNFINISHED not in result.outcome
    assert sum(result.computed) == sum(result.fleet.computed.values())
    assert sum(result.moved) == result.moved_tokens
    for i, outcome in enumerate(result.outcome):
        if outcome == Outcome.SERVED:
            assert result.arrived[i] < result.first_token[i] <= result.finished[i]
            assert 0 <= result.slow_gaps[i] < traffic.output[i]
            assert result.reused[i] <= traffic.history[i] + traffic.common[i]
    return result


def fully_served(result: Result, traffic: Traffic) -> None:
    """Without preemptions and losses, every token was computed or reused once, and answered once."""
    assert set(result.outcome) == {Outcome.SERVED}
    assert result.fleet.generated == sum(traffic.output)
    assert [result.computed[i] + result.reused[i] for i in range(len(traffic))] == list(traffic.prompt)


@pytest.mark.parametrize("name", PLACEMENTS)
def test_every_token_is_accounted_for_under_every_policy(name: str) -> None:
    traffic = chats()
    result = kept_books(scenario(2, 2, slo=LIMITS, placement=PLACEMENTS[name]), traffic)
    fully_served(result, traffic)
    assert result.fleet.preemptions == 0
    # Memory is ample and sessions stay where they are; only the last token of an answer was never computed.
    assert list(result.reused) == [max(0, history - 1) for history in traffic.history]


@pytest.mark.parametrize(
    "queue",
    [
        pytest.param(lambda: Sorted(FCFS()), id="FCFS"),
        pytest.param(lambda: Sorted(EarliestDeadline()), id="EarliestDeadline"),
        pytest.param(lambda: Sorted(ShortestRemaining()), id="ShortestRemaining"),
        pytest.param(AMPDWindow, id="AMPDWindow"),
        pytest.param(FewestLate, id="FewestLate"),
    ],
)
def test_every_order_serves_everybody(queue) -> None:  # type: ignore[no-untyped-def]
    traffic = chats(rate=60.0)
    plan = scenario(1, 2, slo=LIMITS, admission=lambda: Admission(queue()), ttft_stretch=3.0)
    fully_served(kept_books(plan, traffic), traffic)


def test_a_full_queue_sends_legs_back_to_their_decode_replica() -> None:
    traffic = chats(rate=60.0)
    plan = scenario(1, 2, admission=lambda: Admission(Sorted(FCFS()), most_waiting=2))
    result = kept_books(plan, traffic)
    fully_served(result, traffic)
    assert 0 < sum(result.local) < len(traffic)


def test_history_that_cannot_move_is_computed_again_on_the_prefill_replica() -> None:
    traffic = chats()
    result = kept_books(scenario(2, 2, history_moves=False), traffic)
    assert list(result.computed) == list(traffic.prompt)
    held = [max(0, history - 1) for history in traffic.history]
    assert list(result.moved) == [p - h for p, h in zip(traffic.prompt, held, strict=True)]


@pytest.mark.parametrize("name", ["AlwaysLocal", "AlwaysRemote", "CostBased"])
def test_a_memory_that_is_too_small_preempts_and_evicts_and_still_serves(name: str) -> None:
    setup = EngineSetup(SMALL, kv_share=1.0)
    traffic = chats(rate=40.0)
    result = kept_books(scenario(2, 1, SMALL, decode=setup, placement=PLACEMENTS[name]), traffic)
    assert set(result.outcome) <= {Outcome.SERVED, Outcome.TOO_LONG}
    assert result.fleet.evicted_tokens > 0
    served = [i for i, o in enumerate(result.outcome) if o == Outcome.SERVED]
    assert sum(result.reused[i] for i in served) < sum(traffic.history[i] for i in served)
    if name == "AlwaysLocal":
        assert result.fleet.preemptions > 0


def test_a_kv_pool_brings_back_what_memory_has_lost() -> None:
    setup = EngineSetup(SMALL, kv_share=1.0)
    traffic = chats(rate=4.0)
    without = kept_books(scenario(1, 1, SMALL, decode=setup), traffic)
    pooled = kept_books(scenario(1, 1, SMALL, decode=setup, pool_tokens=1e9), traffic)
    assert sum(pooled.computed) < sum(without.computed)
    local = kept_books(
        scenario(0, 1, SMALL, decode=setup, pool_tokens=1e9, placement=PLACEMENTS["AlwaysLocal"]), traffic
    )
    assert sum(local.computed) < sum(without.computed)


def test_a_round_that_can_never_fit_is_refused_at_once_and_its_session_goes_on() -> None:
    tiny = EngineSetup(replace(LLAMA_8B, kv_capacity=2_000), kv_share=1.0)
    traffic = chats()
    result = kept_books(scenario(1, 1, decode=tiny), traffic)
    for i, outcome in enumerate(result.outcome):
        assert (outcome == Outcome.TOO_LONG) == (traffic.prompt[i] + traffic.output[i] > 2_000)


def test_paced_chunks_keep_gaps_within_the_limit_that_full_ones_break() -> None:
    traffic = chats(rate=10.0)
    plan = scenario(0, 2, slo=LIMITS, placement=PLACEMENTS["AlwaysLocal"])
    full = kept_books(plan, traffic)
    paced = kept_books(replace(plan, decode=replace(plan.decode, chunking=Chunking.PACED)), traffic)
    fully_served(paced, traffic)
    assert sum(paced.slow_gaps) < sum(full.slow_gaps) / 2


def test_without_prefill_replicas_everything_is_local() -> None:
    traffic = chats()
    result = kept_books(scenario(0, 2, placement=PLACEMENTS["AlwaysRemote"]), traffic)
    fully_served(result, traffic)
    assert set(result.local) == {1}
    assert set(result.prefill) == {NONE}
    assert result.moved_tokens == 0


def test_on_one_pool_our_rule_does_what_colocated_engines_do_to_the_bit() -> None:
    ours, theirs = (
        simulate(scenario(0, 3, placement=PLACEMENTS[name], slo=LIMITS, load_age=1.5), chats(), seed=3)
        for name in ("CostBased", "AlwaysLocal")
    )
    assert [ours.first_token.tobytes(), ours.finished.tobytes()] == [
        theirs.first_token.tobytes(),
        theirs.finished.tobytes(),
    ]


def test_without_decode_replicas_everybody_is_refused() -> None:
    result = kept_books(scenario(1, 0), chats(sessions=5))
    assert set(result.outcome) == {Outcome.REFUSED}


@pytest.mark.parametrize("role", list(Role))
def test_a_failure_loses_streams_and_nothing_else(role: Role) -> None:
    faults = tuple(Fault(at, role, which=i) for i, at in enumerate((3.0, 6.05, 9.1)))
    traffic = chats(rate=20.0)
    plan = scenario(2, 2, faults=faults, placement=PLACEMENTS["CostBased"], slo=LIMITS)
    result = kept_books(with_fleet(plan, start_up=2.0), traffic)
    assert set(result.outcome) <= {Outcome.SERVED, Outcome.CUT}
    assert (Outcome.CUT in result.outcome) == (role is Role.DECODE)
    served = [i for i, o in enumerate(result.outcome) if o == Outcome.SERVED]
    assert all(result.computed[i] + result.reused[i] >= traffic.prompt[i] for i in served)


def test_legs_of_a_prefill_replica_that_dies_fall_back() -> None:
    traffic = chats(rate=100.0)
    plan = with_fleet(scenario(1, 2, faults=(Fault(0.5, Role.PREFILL),)), start_up=1.0)
    result = kept_books(plan, traffic)
    assert set(result.outcome) == {Outcome.SERVED}
    assert 0 < sum(result.local) < len(traffic)


def test_policies_learn_from_first_tokens_as_they_do_live() -> None:
    """Engines twice as slow as the profile that policies know: corrections drift from one."""
    from pdscale.perf.scaled import Scaled

    slow = EngineSetup(Scaled(LLAMA_8B, 2.0), kv_share=1.0)
    plan = scenario(2, 2, prefill=slow, decode=slow, placement=PLACEMENTS["CostBased"], slo=LIMITS)
    simulation = Simulation(plan, chats(rate=20.0), 1)
    simulation.run()
    from pdscale.placement.policy import Kind

    now = simulation.agenda.now
    factors = [r.correction.factor(Kind.LOCAL, now) for r in simulation.fleet.decode.values()]
    assert min(factors) > 1.02


def columns(result: Result) -> list[array]:  # type: ignore[type-arg]
    return [getattr(result, name) for name in COLUMNS]


@pytest.mark.parametrize("name", ["CostBased", "AMPD"])
def test_the_same_seed_gives_the_same_run_bit_for_bit(name: str) -> None:
    noisy = EngineSetup(LLAMA_8B, noise=0.1)
    plan = scenario(2, 3, placement=PLACEMENTS[name], slo=LIMITS, decode=noisy, load_age=0.5)
    first, second = (simulate(plan, chats(), seed=7) for _ in range(2))
    assert [c.tobytes() for c in columns(first)] == [c.tobytes() for c in columns(second)]
    other = simulate(plan, chats(), seed=8)
    assert first.finished.tobytes() != other.finished.tobytes()


def test_the_order_in_which_sessions_are_listed_decides_nothing() -> None:
    sessions = chatter(random.Random(2), sessions=100, rate=10.0)
    shuffled = random.Random(3).sample(sessions, len(sessions))
    plan = scenario(2, 2, placement=PLACEMENTS["CostBased"], slo=LIMITS)

    def by_session(listed: list) -> dict[str, list[float]]:  # type: ignore[type-arg]
        traffic = Traffic.of(listed)
        result = simulate(plan, traffic, seed=1)
        found: dict[str, list[float]] = {}
        for i, session in enumerate(traffic.session):
            found.setdefault(traffic.names[session], []).append(result.finished[i])
        return found

    assert by_session(sessions) == by_session(shuffled)


def test_hash_order_decides_nothing() -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import random\n"
        "from fakes.simulated import *\n"
        "from pdscale.placement.cost import CostBased\n"
        "from pdscale.sim.simulation import simulate\n"
        "traffic = Traffic.of(chatter(random.Random(1), sessions=60, rate=20.0))\n"
        "plan = scenario(2, 3, placement=lambda c: CostBased(LLAMA_8B, SLO(1.0, 0.02), c))\n"
        "print(simulate(plan, traffic, seed=1).finished.tobytes().hex())\n"
    )
    root = Path(__file__).parents[2]
    paths = [str(root / folder) for folder in ("operator", "forecaster", "tests")]

    def run(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", program, *paths]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert run("1") == run("2") != ""


def test_a_run_that_is_stopped_early_says_who_is_unfinished() -> None:
    traffic = chats(rate=20.0)
    result = simulate(scenario(2, 2), traffic, seed=1, until=3.0)
    assert result.ended_at == 3.0
    assert set(result.outcome) == {Outcome.SERVED, Outcome.UNFINISHED}
    assert max(t for t in result.finished if t == t) <= 3.0


def test_prompts_whose_senders_ask_before_they_send_do_not_meet() -> None:
    """Four deciders whose loads are never renewed: long prompts wait for each other where nobody asks."""
    traffic = singles((start, 20_000, 2) for start in (0.1, 0.2, 0.3, 0.4))

    def latest(*, asking: bool) -> float:
        plan = scenario(4, 4, placement=PLACEMENTS["AlwaysRemote"], load_age=1e3, load_asking=asking)
        runs = [simulate(plan, traffic, seed=seed) for seed in (1, 2, 3)]
        return max(run.ttft(i) for run in runs for i in range(len(traffic)))

    assert latest(asking=True) < 0.75 * latest(asking=False)
