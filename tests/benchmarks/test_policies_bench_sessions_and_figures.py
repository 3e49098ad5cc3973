"""What the comparison of policies replays, and how it counts, without any process."""

import gzip
from collections import Counter
from pathlib import Path

import pytest
from benchmarks.policies.cell import Cell
from benchmarks.policies.clients import Outcome
from benchmarks.policies.excerpts import Half, Shape, draw, fitted, half_of
from benchmarks.policies.figures import Machine, Run, attained, strictly, summary
from benchmarks.policies.kept import Kept
from benchmarks.policies.recorded import Recorded, Turn, published, read_trace
from benchmarks.policies.slower import slower_profile
from benchmarks.policies.table import markdown, rows

from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.router.policies import PolicyName

SMALL = SLO(ttft=1.0, tpot=0.1)
CALM = Machine(engines=0.1, routers=0.1, clients=0.1, waited=0.0)
HEAD = "timestamp_s,session_id,round_index,input_tokens,output_tokens,think_s,tool_wait_s,kind\n"


def trace(folder: Path, *lines: str) -> list[Recorded]:
    path = folder / "t.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(HEAD + "\n".join(lines) + "\n")
    return read_trace(path)


def outcome(ttft: float = 0.5, gaps: tuple[float, ...] = (0.05,) * 10, why: str = "") -> Outcome:
    return Outcome(due=0.0, late=0.001, judged=True, ttft=ttft, gaps=gaps, why=why)


def run_of(*outcomes: Outcome, policy: str = "CostBased", machine: Machine = CALM, seed: int = 1) -> Run:
    placed = Counter({("local", "DecodeSlack"): 1, ("remote", "PrefillSlack"): 3})
    return Run("t", policy, "1 sessions/s", seed, SMALL, outcomes, machine, placed)


def test_a_later_round_adds_what_neither_history_nor_answer_had(tmp_path: Path) -> None:
    (session,) = trace(tmp_path, "0,a,0,100,20,,,root", "9,a,1,150,5,3,1,user")
    assert session.turns == (Turn(100, 20, 0.0), Turn(30, 5, 4.0))


def test_a_wait_that_nobody_told_is_the_time_between_requests_less_the_answer(tmp_path: Path) -> None:
    (session,) = trace(tmp_path, "0,a,0,100,100,,,root", "9,a,1,250,5,,,continuation")
    assert session.turns[1].wait == pytest.approx(6.0)


@pytest.mark.parametrize(
    "later", ["9,a,1,500,5,,,shared_prefix", "9,a,1,500,5,,,user"], ids=["edit", "compaction"]
)
def test_a_request_that_does_not_go_on_begins_a_session(tmp_path: Path, later: str) -> None:
    found = trace(tmp_path, "0,a,0,1000,20,,,root", later)
    assert [len(s.turns) for s in found] == [1, 1]


def test_a_trace_without_sessions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must name sessions"):
        trace(tmp_path, "0,,0,100,20,,,root")


def test_sessions_that_all_begin_at_one_time_have_no_clock_in_common(tmp_path: Path) -> None:
    assert {s.start for s in trace(tmp_path, "0,a,0,9,2,,,root", "0,b,0,9,2,,,root")} == {None}


def test_waits_are_divided_alike_and_increments_are_left_alone() -> None:
    turns = (Turn(90_000, 10, 0.0), Turn(700, 10, 50.0), Turn(10, 10, 100.0), Turn(10, 10, 2000.0))
    (session,) = fitted([Recorded("a", 0.0, turns)], Shape(root=16384, wait=5.0, longest_wait=20.0))
    assert [t.added for t in session.turns] == [16384, 700, 10, 10]
    assert [t.wait for t in session.turns] == [0.0, 2.5, 5.0, 20.0]


def test_a_session_ends_where_its_context_leaves_the_window() -> None:
    turns = (Turn(600, 100, 0.0), Turn(200, 100, 1.0), Turn(10, 10, 1.0))
    (session,) = fitted([Recorded("a", 0.0, turns)], Shape(window=1000))
    assert len(session.turns) == 1


@pytest.mark.parametrize("clock", [True, False])
def test_development_and_report_share_no_session(clock: bool) -> None:
    sessions = [Recorded(f"s{n}.0", float(n) if clock else None, ()) for n in range(50)]
    development, report = (half_of(sessions, half) for half in (Half.DEVELOPMENT, Half.REPORT))
    assert sorted(s.name for s in development + report) == sorted(s.name for s in sessions)
    assert min(len(development), len(report)) > 10


def test_a_draw_is_the_same_for_every_policy_and_another_for_every_seed() -> None:
    sessions = fitted(published(3, sessions=400), Shape())
    drawn = [draw(sessions, Shape(), rate=1.0, seconds=30, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_session_that_began_before_brings_its_history_and_says_so() -> None:
    turns = (Turn(100, 10, 0.0), *(Turn(5, 10, 30.0) for _ in range(20)))
    sessions = [Recorded("a", None, turns)]
    (planned,) = draw(sessions, Shape(past=90.0), rate=0.011, seconds=0.001, seed=1)
    past = len(turns) - len(planned.turns)
    assert planned.joined
    assert 0 < past < 4
    assert planned.turns[0].added == 100 + 5 * past + 10 * past
    assert 0 <= planned.start <= 31


def test_strict_attainment_sees_stalls_that_a_mean_hides() -> None:
    stalled = outcome(gaps=(0.01,) * 8 + (0.2, 0.2))
    assert attained(stalled, SMALL)
    assert not strictly(stalled, SMALL)


def test_a_failed_request_attained_nothing_and_is_counted() -> None:
    found = summary([run_of(outcome(), outcome(why="503, 0 tokens"))])
    assert (found.attained, found.failed, found.failures) == (0.5, 1, {"503, 0 tokens": 1})
    assert found.local == 0.25


def test_a_run_on_a_starved_machine_is_marked_and_stays_in_the_table() -> None:
    starved = run_of(outcome(), machine=Machine(0.1, 0.1, 0.1, waited=0.2))
    assert "waited for a core" in starved.invalid
    assert "(invalid)" in markdown([starved])


def test_ours_is_held_against_the_best_of_the_others() -> None:
    late = outcome(ttft=3.0)
    runs = [run_of(outcome(), late), run_of(late, policy="AMPD"), run_of(outcome(), policy="Threshold")]
    verdict = next(row for row in rows(runs) if row.goal)
    assert verdict.metric == "CostBased ahead of Threshold"
    assert (verdict.value, verdict.ok) == (-50.0, False)


def test_a_comparison_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, starved = tmp_path / "runs.json", Machine(0.1, 0.1, 0.1, waited=0.5)
    Kept(path).add([run_of(outcome()), run_of(outcome(), machine=starved, seed=2)])
    again = Kept(path)
    cells = [Cell("t", "1 sessions/s", seed, PolicyName.COST_BASED, ()) for seed in (1, 2, 3)]
    assert [again.lacks(cell) for cell in cells] == [False, True, True]
    assert again.rate("t") == 1.0
    assert summary(again.runs) == summary([run_of(outcome()), run_of(outcome(), machine=starved, seed=2)])


def test_what_a_starved_machine_showed_never_replaces_a_valid_run(tmp_path: Path) -> None:
    kept = Kept()
    kept.add([run_of(outcome())])
    kept.add([run_of(outcome(ttft=9.0), machine=Machine(0.1, 0.1, 0.1, waited=0.5))])
    assert summary(kept.runs).attained == 1.0


def test_slower_engines_change_no_time_but_by_the_factor() -> None:
    profile = BUILTIN["llama-3.1-8b-h100"]
    slow = slower_profile(profile, 3.0)
    assert slow.prefill_seconds(700, 3000) == pytest.approx(3 * profile.prefill_seconds(700, 3000))
    assert slow.step_seconds(9, 70_000) == pytest.approx(3 * profile.step_seconds(9, 70_000))
    assert slow.transfer_seconds(5000) == pytest.approx(3 * profile.transfer_seconds(5000))
