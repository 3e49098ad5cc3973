"""The two commands, from arguments to what they print, on small workloads of published lengths."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pdscale import cli
from pdscale.scenarios import runs
from pdscale.scenarios.tables import SCHEMA

SMALL = ("--duration", "40s", "--rate", "4")
SHARES = ("attainment", "strict_attainment", "ttft_attainment", "tpot_attainment", "local_share")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main([*arguments]) == 0
    return capsys.readouterr().out


def runs_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    document = json.loads(told(capsys, *arguments, "--json"))
    found: list[dict[str, Any]] = document["runs"]
    return found


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main([*arguments]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    return captured.err


def table(tmp_path: Path, *rows: str) -> Path:
    file = tmp_path / "trace.csv"
    file.write_text(
        "\n".join(("timestamp_s,session_id,round_index,input_tokens,cached_tokens,output_tokens", *rows))
        + "\n"
    )
    return file


def test_simulate_prints_a_list_and_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", *SMALL, "--seed", "7"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "seeds 7\n"
    names = [re.split(r"\s{2,}", line)[0] for line in captured.out.splitlines()]
    assert names[:5] == ["placement", "scaling", "load", "begins", "both %"]
    assert {"strict %", "GPU-h", "changes", "GB moved", "local %", "TTFT P50/P90/P99 s"} <= set(names)


def test_the_same_arguments_give_the_same_bits(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("simulate", *SMALL, "--scaling", "Reactive", "--noise", "0.1", "--load", "3", "--json")
    first = told(capsys, *asked)
    assert told(capsys, *asked) == first
    assert told(capsys, *asked, "--seed", "2") != first


def test_json_has_a_schema_settings_and_one_entry_per_run(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(told(capsys, "simulate", *SMALL, "--json"))
    assert document["schema"] == SCHEMA
    assert document["settings"]["ttft"] == "2s"
    assert document["settings"]["trace"] is None
    (run,) = document["runs"]
    assert all(0 <= run[name] <= 1 for name in SHARES)
    assert run["placement"] == "CostBased"
    assert (run["prefill"], run["decode"], run["seed"], run["load"]) == (2, 3, 1, 1.0)
    assert run["served"] == run["rounds"] > 100
    assert run["ttft_p50"] <= run["ttft_p90"] <= run["ttft_p99"]
    # 5 GPUs from the beginning to the end of the run.
    assert run["gpu_hours"] == pytest.approx(5 * run["ended_at"] / 3600)


def test_a_figure_that_does_not_exist_is_null_and_empty(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trace = str(table(tmp_path, "0,,,100,,1", "1,,,100,,1"))
    (run,) = runs_of(capsys, "simulate", "--trace", trace)
    assert run["tpot_p50"] is None
    (row,) = csv.DictReader(io.StringIO(told(capsys, "simulate", "--trace", trace, "--csv")))
    assert row["tpot_p50"] == ""
    assert list(row) == list(run)


def test_a_scenario_file_gives_the_same_run_as_flags(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text("duration: 40s\nrate: 4\nplacement: AMPD\n")
    by_file = told(capsys, "simulate", "--scenario", str(file), "--json")
    assert by_file == told(capsys, "simulate", *SMALL, "--placement", "AMPD", "--json")


def test_load_moves_starts_closer_together(capsys: pytest.CaptureFixture[str]) -> None:
    once, twice = runs_of(
        capsys, "compare", *SMALL, "--load", "1,2", "--placement", "AMPD", "--scaling", "Static"
    )
    assert twice["rounds"] == once["rounds"]
    assert twice["rate"] == pytest.approx(2 * once["rate"])


def test_bandwidth_and_slower_engines_change_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("simulate", *SMALL, "--placement", "AlwaysRemote")
    (plain,) = runs_of(capsys, *asked)
    (narrow,) = runs_of(capsys, *asked, "--bandwidth", "1GB/s")
    (slow,) = runs_of(capsys, *asked, "--slowdown", "1.5")
    assert narrow["ttft_p50"] > plain["ttft_p50"] + 0.05
    assert slow["tpot_p50"] == pytest.approx(1.5 * plain["tpot_p50"], rel=0.1)
    assert plain["local_share"] == 0
    assert plain["moved_bytes"] > 0


def test_the_order_in_front_of_prefill_replicas_decides_who_is_late(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ("simulate", *SMALL, "--workload", "summary", "--load", "2", "--placement", "AlwaysRemote")
    (first_come,) = runs_of(capsys, *asked, "--order", "FCFS")
    (shortest,) = runs_of(capsys, *asked, "--order", "ShortestRemaining")
    (window,) = runs_of(capsys, *asked, "--order", "AMPDWindow")
    (deadline,) = runs_of(capsys, *asked, "--order", "EarliestDeadline")
    assert shortest["ttft_p50"] < first_come["ttft_p50"]
    assert window["ttft_mean"] != first_come["ttft_mean"]
    assert deadline["rounds"] == first_come["rounds"]


def test_colocated_engines_have_the_gpus_of_both_pools(capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = runs_of(
        capsys, "simulate", *SMALL, "--placement", "Colocated", "--gpus-prefill", "4", "--gpus-decode", "2"
    )
    assert (run["prefill"], run["decode"]) == (0, 7)
    assert (run["local_share"], run["moved_bytes"]) == (1, 0)


def test_without_names_every_rule_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    found = runs_of(capsys, "compare", "--duration", "20s", "--max-prefill", "2", "--max-decode", "3")
    rules = [(run["placement"], run["scaling"]) for run in found]
    assert len(rules) == len(set(rules)) == 8 + 11
    assert ("Colocated", "Static") in rules
    assert {("CostBased", "Pdscale"), ("CostBased", "Clairvoyant"), ("CostBased", "OracleStatic")} <= set(
        rules
    )


def test_processes_change_no_figure_and_no_order(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        "compare",
        "--duration",
        "20s",
        "--placement",
        "AMPD,AlwaysLocal",
        "--scaling",
        "Static",
        "--seed",
        "1,2",
    )
    alone = told(capsys, *asked, "--json")
    assert told(capsys, *asked, "--json", "--jobs", "2") == alone


def test_seeds_are_averaged_for_people_with_their_range(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(
        capsys, "compare", *SMALL, "--placement", "AMPD", "--scaling", "Static,Pdscale", "--seed", "1,2"
    )
    assert len(text.splitlines()) == 3
    assert re.search(r"\d\.\d\.\.\d+\.\d", text)


def test_an_oracle_finds_the_cheapest_fleet_that_will_do(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--load", "16", "--max-prefill", "3", "--max-decode", "4", "--ttft", "500ms", "--tpot", "12ms")
    (oracle,) = runs_of(
        capsys, "simulate", *SMALL, *asked, "--placement", "AMPD", "--scaling", "OracleStatic"
    )
    assert oracle["attainment"] >= 0.95
    assert oracle["prefill"] + oracle["decode"] == 3
    fewer = ("--prefill", "1", "--decode", "1")
    (other,) = runs_of(capsys, "simulate", *SMALL, *asked, *fewer, "--placement", "AMPD")
    assert other["attainment"] < 0.95


def test_the_best_split_keeps_the_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("compare", *SMALL, "--workload", "summary", "--load", "2", "--placement", "AlwaysRemote")
    static, split = runs_of(capsys, *asked, "--scaling", "Static,BestSplit")
    assert split["prefill"] + split["decode"] == 5
    assert split["attainment"] >= static["attainment"]


def test_a_larger_share_to_attain_leaves_less_load(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        "compare",
        *SMALL,
        "--prefill",
        "1",
        "--decode",
        "1",
        "--placement",
        "AlwaysRemote",
        "--scaling",
        "Static",
    )
    text = told(capsys, *asked, "--goodput", "0.5,0.99", "--seed", "1,2", "--ttft", "200ms")
    half, nearly_all = (float(re.split(r"\s{2,}", line)[3]) for line in text.splitlines()[1:])
    assert half > nearly_all > 0


def test_a_report_needs_nothing_but_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    told(
        capsys,
        "compare",
        *SMALL,
        "--placement",
        "AMPD,Colocated",
        "--scaling",
        "Static,Reactive",
        "--load",
        "1,2",
        "--report",
        str(report),
    )
    page = report.read_text()
    assert page.count("<svg") == 6
    assert "AMPD + Reactive" in page
    assert not re.search(r"https?:|<script|<link|url\(", page)
    assert "nan" not in page


def test_a_search_is_the_same_in_processes_and_tells_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        "compare",
        *SMALL,
        "--duration",
        "10s",
        "--placement",
        "AMPD,AlwaysRemote",
        "--scaling",
        "Static",
    )
    alone = told(capsys, *asked, "--goodput", "0.9", "--strict", "--json")
    (first, _) = json.loads(alone)["goodput"]
    assert first["attainment"] >= 0.9
    assert first["load"] < first["at_most"]
    assert told(capsys, *asked, "--goodput", "0.9", "--strict", "--json", "--jobs", "2") == alone


def test_times_alone_need_an_engine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = ["phase,batch_size,new_tokens,prefix_tokens,context_tokens,latency_ms"]
    rows += [
        f"prefill,1,{n},{h},,{5 + n / 50 + h / 1000}" for n in (128, 512, 1024, 4096, 8192) for h in (0, 4096)
    ]
    rows += [
        f"decode,{b},,,{s},{5 + b / 10 + b * s / 1e5}" for b in (1, 8, 64, 128) for s in (512, 4096, 16384)
    ]
    grid = tmp_path / "mine.csv"
    grid.write_text("\n".join(rows) + "\n")
    asked = ("simulate", *SMALL, "--profile", str(grid))
    assert "--engine NAME says it" in complaint(capsys, *asked)
    (run,) = runs_of(capsys, *asked, "--engine", "llama-3.1-8b-h100", "--bandwidth", "25GB/s")
    assert run["attainment"] > 0.9
    assert "--engine: must be one of" in complaint(capsys, *asked, "--engine", "gpt")


def test_follow_ups_after_the_last_start_count_only_if_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "trace.csv"
    columns = "timestamp_s,session_id,round_index,input_tokens,cached_tokens,output_tokens,think_s"
    file.write_text(f"{columns}\n0,a,0,100,0,5,\n10,b,0,100,0,5,\n900,a,1,200,100,5,900\n")
    (steady,) = runs_of(capsys, "simulate", "--trace", str(file))
    assert (steady["rounds"], steady["rate"]) == (2, pytest.approx(0.2))
    (whole,) = runs_of(capsys, "simulate", "--trace", str(file), "--tail", "true")
    assert whole["rounds"] == 3
    (late,) = runs_of(capsys, "simulate", "--trace", str(file), "--warm-up", "5s")
    assert late["rounds"] == 1


def test_rate_series_are_expanded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_text("timestamp_s,window_s,requests_per_s\n0,30,2\n30,30,6\n")
    (run,) = runs_of(capsys, "simulate", "--trace", str(file))
    assert 150 < run["rounds"] < 330


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param(["0,,,abc,,5"], r"trace\.csv, row 2.* input_tokens.*abc", id="not a number"),
        pytest.param(
            ["0,,,100,,5", "1,,,-5,,5"], r"trace\.csv, row 3.* input_tokens.*-5", id="below the bound"
        ),
        pytest.param(["0,,,100"], r"trace\.csv, row 2", id="a short row"),
        pytest.param([], r"trace\.csv", id="no rows"),
    ],
)
def test_a_malformed_trace_is_refused_by_file_and_row(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rows: list[str], says: str
) -> None:
    assert re.search(says, complaint(capsys, "simulate", "--trace", str(table(tmp_path, *rows))))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--trace", "none.csv"], "none.csv: cannot be read", id="no trace"),
        pytest.param(["--profile", "gpt"], "neither a file nor a built-in profile; these", id="no profile"),
        pytest.param(["--ttft", "2"], "--ttft: duration must look like", id="duration"),
        pytest.param(
            ["--seed", "1,2"], "simulate takes one, got 2; pdscale compare takes several", id="seeds"
        ),
        pytest.param(
            ["--placement", "Colocated", "--scaling", "HPA"], "takes Static, OracleStatic", id="one pool"
        ),
        pytest.param(["--report", "none/at/all.html"], "--report: none/at must be a folder", id="report"),
        pytest.param(["--workload", "drifting", "--tpot", "1ms"], "widen them or choose", id="hopeless"),
    ],
)
def test_a_mistake_costs_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert says in complaint(capsys, "simulate", *SMALL, *arguments)


def test_an_unknown_flag_says_where_help_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["simulate", "--prefil", "2"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == "try: pdscale simulate --help"


def test_an_interrupt_ends_with_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run_case", interrupted)
    assert cli.main(["simulate", *SMALL]) == 130
    assert capsys.readouterr().err == "pdscale simulate: interrupted after 0 of 1 runs\n"
