"""``pdscale plan`` from its arguments to what it prints, on small workloads of published lengths."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from pdscale import cli
from pdscale.scenarios.plans.tables import SCHEMA

SMALL: Final = ("--duration", "40s", "--rate", "4")
TIGHT: Final = (*SMALL, "--load", "6", "--profile", "llama-3.1-8b-a100")
TWO: Final = ("--profile", "llama-3.1-8b-h100", "--profile", "llama-3.1-8b-a100")
FORMULAS: Final = ("--no-simulate",)


def plan_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.main(["plan", *arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["plan", *arguments]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    return captured.err


def simulated(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [a for a in document["alternatives"] if a["simulated"] is not None]


def test_the_formulas_alone_print_a_fleet_and_the_alternatives(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *SMALL, *TWO, "--gpus", "8", *FORMULAS]) == 0
    captured = capsys.readouterr()
    assert captured.err == "seeds 1\n"
    lines = captured.out.splitlines()
    assert lines[0] == "1P+1D of llama-3.1-8b-h100 with 1 GPU each: 2 of 8 GPUs"
    assert lines[1].split()[:2] == ["prefill", "profile"]
    assert len(lines) == 2 + 4  # two profiles make four pairs, none of which could do with fewer GPUs


def test_json_says_what_was_asked_and_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan_of(capsys, *TIGHT, "--gpus", "16", *FORMULAS)
    assert found["schema"] == SCHEMA
    assert found["profiles"] == [{"name": "llama-3.1-8b-a100", "gpus": 1}]
    assert (found["gpus"], found["settings"]["load"], found["constraint"]) == (16, "6", None)
    assert "prefill" not in found["settings"]
    plan = found["plan"]
    assert plan["gpus"] == plan["prefill"] + plan["decode"]
    assert plan["carried"] >= 0.95
    assert plan["binding"]["load"] <= 1
    assert plan["simulated"] is None
    assert plan in found["alternatives"]


def test_a_simulated_fleet_attains_what_simulate_says_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(capsys, *TIGHT, "--gpus", "16", "--runs", "4", "--seed", "3")["plan"]
    fleet = ("--prefill", str(plan["prefill"]), "--decode", str(plan["decode"]))
    assert cli.main(["simulate", *TIGHT, "--seed", "3", *fleet, "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert plan["simulated"] == {
        "attainment": run["attainment"],
        "ttft_attainment": run["ttft_attainment"],
        "tpot_attainment": run["tpot_attainment"],
        "by_seed": [run["attainment"]],
    }


def test_the_plan_attains_and_no_simulated_fleet_does_with_fewer_gpus(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = plan_of(capsys, *TIGHT, "--gpus", "16")
    plan = found["plan"]
    assert plan["simulated"]["attainment"] >= 0.95
    for other in simulated(found):
        assert other["gpus"] >= plan["gpus"] or other["simulated"]["attainment"] < 0.95


def test_without_a_replica_of_either_role_the_plan_does_not_attain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = plan_of(capsys, *TIGHT, "--ttft", "500ms", "--gpus", "24")
    plan = found["plan"]
    tried = {(a["prefill"], a["decode"]): a["simulated"]["attainment"] for a in simulated(found)}
    smaller = [(plan["prefill"] - 1, plan["decode"]), (plan["prefill"], plan["decode"] - 1)]
    inside = [fleet for fleet in smaller if min(fleet) >= 1]
    assert inside
    for p, d in inside:  # itself, or one that has it all and more
        assert any(share < 0.95 for (tp, td), share in tried.items() if tp >= p and td >= d)


def test_runs_are_never_more_than_asked(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan_of(capsys, *SMALL, *TWO, "--load", "4", "--ttft", "200ms", "--gpus", "32", "--runs", "3")
    assert len(simulated(found)) == 3


def test_two_seeds_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(capsys, *TIGHT, "--gpus", "16", "--runs", "1", "--seed", "1,2")["alternatives"][0]
    by_seed = plan["simulated"]["by_seed"]
    assert len(by_seed) == 2
    assert plan["simulated"]["attainment"] == pytest.approx(sum(by_seed) / 2)


def test_prefill_replicas_of_another_profile_prefill_at_their_own_pace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = (
        "--placement",
        "AlwaysRemote",
        *SMALL,
        "--load",
        "3",
        "--gpus",
        "2",
        "--pairs",
        "4",
        "--runs",
        "4",
    )
    found = plan_of(capsys, *asked, "--ttft", "60ms", *TWO)
    share = {
        (a["prefill_profile"][-4:], a["decode_profile"][-4:]): a["simulated"]["ttft_attainment"]
        for a in simulated(found)
    }
    assert share["h100", "a100"] > share["a100", "h100"]


def test_a_limit_that_nothing_meets_is_a_result_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *SMALL, "--gpus", "8", "--ttft", "1ms", *FORMULAS]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "no fleet within 8 GPUs is known to attain 0.95: one prefill replica alone misses its TTFT limit"
    )
    found = plan_of(capsys, *SMALL, "--gpus", "8", "--ttft", "1ms", *FORMULAS)
    assert found["plan"] is None
    assert found["alternatives"][0]["binding"]["load"] is None


def test_too_few_gpus_are_a_result_that_says_how_many_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan_of(capsys, *TIGHT, "--load", "30", "--gpus", "3", *FORMULAS)
    assert found["plan"] is None
    assert re.fullmatch(r"--gpus 3, [0-9]+ needed", found["constraint"])


def test_one_file_serves_compare_and_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "duration: 40s\nrate: 4\nprofile: [llama-3.1-8b-h100, llama-3.1-8b-a100]\n"
        "prefill: 3\nmax-prefill: 3\ngpu-budget: 9\nscaling: [Static, HPA]\nttft: 3s\n"
    )
    found = plan_of(capsys, "--scenario", str(file), "--gpus", "4", *FORMULAS)
    assert [p["name"] for p in found["profiles"]] == ["llama-3.1-8b-h100", "llama-3.1-8b-a100"]
    assert (found["settings"]["ttft"], found["plan"]["gpus"]) == ("3s", 2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param((), "--gpus: must be given", id="no GPUs"),
        pytest.param(("--gpus", "1"), "--gpus: must be a whole number of at least 2", id="too few GPUs"),
        pytest.param(("--gpus", "5000"), "--gpus: must be at most 1024", id="too many GPUs"),
        pytest.param(("--gpus", "8", "--profile", "nothing=2"), "neither a file nor", id="unknown profile"),
        pytest.param(("--gpus", "8", "--profile", "mine.json"), "say it as mine.json=GPUS", id="no degree"),
        pytest.param(("--gpus", "8", "--load", "1,2"), "--load: a plan is for one load", id="two loads"),
        pytest.param(("--gpus", "8", "--placement", "Colocated"), "one policy for two pools", id="one pool"),
        pytest.param(("--gpus", "8", "--warm-up", "2h"), "--warm-up: no round arrives", id="nothing judged"),
        pytest.param(
            ("--gpus", "6", "--profile", "llama-3.1-70b-h100-tp4"), "need at least 8", id="large replicas"
        ),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert says in complaint(capsys, *SMALL, *FORMULAS, *arguments)


def test_help_explains_what_a_mixed_plan_is_simulated_with(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "the placement policy then believes the decode profile" in text


def test_a_plan_takes_no_more_gpus_than_hindsight_finds_on_the_border(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = (*TIGHT, "--ttft", "500ms")
    plan = plan_of(capsys, *asked, "--gpus", "16")["plan"]
    bounds = ("--prefill", "1", "--decode", "1", "--max-prefill", "8", "--max-decode", "8")
    assert cli.main(["simulate", *asked, *bounds, "--scaling", "OracleStatic", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["runs"][0]
    assert plan["gpus"] == best["prefill"] + best["decode"]
