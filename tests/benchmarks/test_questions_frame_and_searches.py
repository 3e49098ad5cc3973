"""The simulator's questions: what is kept and shown of an answer, and what a search finds."""

import csv
import gzip
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from benchmarks.questions import searches
from benchmarks.questions.frame import Answer, Given, Table, keep, questions, read, section, shown
from benchmarks.questions.searches import Rule, Search, Target, searched, told
from benchmarks.questions.workloads import trimmed
from benchmarks.rows import Goal, Row

from pdscale.scenarios.settings import PlacementName, Settings

TABLE = Table("loads", ("rule", "load"), (("ours", "2.0"), ("theirs", "1.0")))


def answer(title: str = "Question 1: which") -> Answer:
    goals = (Row("gain", 2.0, "x", "here", Goal(">=", 2.5)), Row("share", 31.0, "%"))
    return Answer(title, "Which is it?", (TABLE,), goals, ("on one seed",))


def test_questions_are_found_by_their_function_alone() -> None:
    assert {"placement", "order", "ampd"} <= set(questions())
    assert not {"frame", "searches", "workloads"} & set(questions())


def test_an_answer_is_shown_with_its_command_and_with_the_goal_it_misses(tmp_path: Path) -> None:
    path = keep("which", answer(), command="python -m that", seconds=12.4, folder=tmp_path)
    text = section(read(path))
    assert "`python -m that` (12 s)" in text
    assert "| gain | 2 | x | >= 2.5 | **NO**, by 0.5 | here |" in text
    assert "| share | 31 | % |  |  |  |" in text
    assert "| theirs | 1.0 |" in text


def test_sections_come_in_the_order_of_their_questions(tmp_path: Path) -> None:
    keep("a", answer("Question 2: b"), command="", seconds=1, folder=tmp_path)
    keep("b", answer("Question 1: a"), command="", seconds=1, folder=tmp_path)
    text = shown(tmp_path)
    assert text.index("Question 1") < text.index("Question 2")
    assert shown(tmp_path / "nothing") == ""


def test_a_row_that_does_not_fit_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="must have 2 cells a row"):
        Table("loads", ("rule", "load"), (("ours",),))


def falling(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Attainment 1 - load / 10, strict half as far from it again; the loads that were run."""
    ran: list[float] = []

    def run(settings: Settings, rule: Rule, load: float, seed: int) -> Any:
        ran.append(load)
        return SimpleNamespace(attainment=1 - load / 10, strict_attainment=1 - load / 5, rate=7 * load)

    monkeypatch.setattr(searches, "run", run)
    return ran


def asked(seeds: tuple[int, ...], *targets: Target) -> Search:
    settings = cast(Settings, SimpleNamespace(seed=seeds))
    return Search(settings, Rule("ours", PlacementName.COST_BASED), 0.01, 16.0, targets=targets)


@pytest.mark.parametrize("target", [Target(0.9), Target(0.99), Target(0.9, strict=True), Target(0.5)])
def test_a_search_ends_within_a_step_below_the_crossing(
    monkeypatch: pytest.MonkeyPatch, target: Target
) -> None:
    falling(monkeypatch)
    crossing = (1 - target.share) * (5 if target.strict else 10)
    found = searched(asked((1, 2, 3), Target(0.9), target))[target]
    assert crossing / 1.031 <= found.load <= crossing * 1.000001
    assert len(found.others) == 2


def test_what_was_run_for_one_target_is_not_run_again_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = falling(monkeypatch)
    searched(asked((1,), Target(0.9), Target(0.99)))
    assert len(ran) == len(set(ran))


def test_a_target_missed_at_the_least_load_is_nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    falling(monkeypatch)
    found = searched(asked((1, 2), Target(0.9995)))[Target(0.9995)]
    assert (found.verdict, found.rate, found.others) == (None, 0.0, ())


def test_a_target_that_no_load_misses_is_a_bound_and_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    falling(monkeypatch)
    found = searched(asked((1,), Target(-9.0)))[Target(-9.0)]
    assert found.bound
    assert found.load >= 32.0
    assert told(found).startswith("at least ")


def test_trimmed_sessions_have_short_waits_few_rounds_and_no_helpers(tmp_path: Path) -> None:
    columns = ("session_id", "parent_session_id", "think_s", "tool_wait_s", "input_tokens")
    rows = [("s", "", "900", "", str(n)) for n in range(40)] + [("h", "s", "1", "2", "7")]
    source = tmp_path / "recorded.csv.gz"
    with gzip.open(source, "wt", newline="") as out:
        csv.writer(out).writerows([columns, *rows])
    with gzip.open(trimmed(source, tmp_path / "out"), "rt", newline="") as lines:
        kept = list(csv.DictReader(lines))
    assert len(kept) == 30
    assert {row["think_s"] for row in kept} == {"60"}
    assert {row["tool_wait_s"] for row in kept} == {""}


def test_a_section_says_that_it_was_thinned(tmp_path: Path) -> None:
    keep("a", answer("Question 1: a"), command="ask --quick", seconds=1, folder=tmp_path)
    assert "Thinned: with `--quick`" in shown(tmp_path)
    keep("a", answer("Question 1: a"), command="ask", seconds=1, folder=tmp_path)
    assert "Thinned" not in shown(tmp_path)


def test_parts_that_are_not_named_are_all_asked() -> None:
    assert Given(Path(), Path()).asks("drift")
    assert not Given(Path(), Path(), parts=("steady",)).asks("drift")
