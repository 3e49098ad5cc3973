"""The side by side with Dynamo: how its simulator is asked, what counts as attained, what hindsight finds."""

import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.dynamo import simulator
from benchmarks.dynamo.cases import cases
from benchmarks.dynamo.comparing import ORACLE, OURS, Compared, Line, least_fleet
from benchmarks.dynamo.profiling import Profiled
from benchmarks.dynamo.report import rows, table
from benchmarks.dynamo.simulator import Outcome, Planner, Samples, outcome, replayed

from pdscale.model.pools import Targets
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.fitting import FitError
from pdscale.workload.trace import open_trace

CASE = cases()[0]
TRACE = open_trace("two", [0.0, 1.0], [100, 200], [5, 6])
STUB = """
import json, sys
given = json.loads(sys.stdin.readline())
lines = open(given["trace"]).read().splitlines()
plan = []
for k in (1, 2):
    print(json.dumps({"tick": {"now_ms": k * given["interval_ms"]}}), flush=True)
    answer = json.loads(sys.stdin.readline())
    if answer:
        plan.append([k * given["interval_ms"] / 1000, *answer])
with open(given["records"], "w") as records:
    for line in lines:
        print(json.dumps({"ttft_ms": 1000, "itl_ms": 20, "output_length": 5, "terminal_status": "completed"}),
              file=records)
print("noise", file=sys.stderr)
print(json.dumps({"report": {"num_requests": len(lines), "gpu_hours": 0.5}, "plan": plan}), flush=True)
"""


def record(
    ttft: float | None, itl: float | None, *, output: int = 10, status: str = "completed"
) -> dict[str, Any]:
    return {"ttft_ms": ttft, "itl_ms": itl, "output_length": output, "terminal_status": status}


def ran(both: float, gpu_hours: float = 1.0, *, ttft: float | None = None) -> Outcome:
    return Outcome(100, both if ttft is None else ttft, 1.0, both, gpu_hours, ())


def test_a_request_attains_both_objectives_or_misses() -> None:
    records = [
        record(1900, 79),
        record(2100, 79),
        record(1900, 81),
        record(1900, None, output=1),
        record(None, None, status="rejected"),
    ]
    found = outcome(CASE, records, {"num_requests": 5, "gpu_hours": 2.0}, ())
    assert (found.ttft, found.tpot, found.both) == (0.6, 0.6, 0.4)


def test_requests_without_a_record_have_missed() -> None:
    found = outcome(CASE, [record(100, 10)], {"num_requests": 4, "gpu_hours": 1.0}, ())
    assert found.both == 0.25


def test_each_tick_is_answered_over_the_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = tmp_path / "side.py"
    side.write_text(STUB)
    monkeypatch.setattr(simulator, "_SIDE", side)
    asked = []

    def decide(tick: Any) -> Targets | None:
        asked.append(tick["now_ms"])
        return Targets(2, 3) if len(asked) == 2 else None

    found = replayed(Path(sys.executable), CASE, TRACE, fleet=Targets(1, 1), decide=decide)
    assert asked == [15_000, 30_000]
    assert found.plan == ((30.0, Targets(2, 3)),)
    assert (found.requests, found.both, found.gpu_hours, found.changes) == (2, 1.0, 0.5, 1)


def test_a_simulator_that_dies_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = tmp_path / "side.py"
    side.write_text("raise SystemExit('no module named dynamo')")
    monkeypatch.setattr(simulator, "_SIDE", side)
    with pytest.raises(RuntimeError, match="no module named dynamo"):
        replayed(Path(sys.executable), CASE, TRACE, fleet=Targets(1, 1))


def test_the_planners_past_becomes_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = tmp_path / "side.py"
    side.write_text(
        "import json, sys\n"
        "given = json.loads(sys.stdin.readline())\n"
        "past = open(given['planner']['load_predictor_warmup_trace']).read().splitlines()\n"
        "open(given['records'], 'w').close()\n"
        "report = {'num_requests': len(past), 'gpu_hours': len(given['samples']['prefill'])}\n"
        "print(json.dumps({'report': report, 'plan': []}))\n"
    )
    monkeypatch.setattr(simulator, "_SIDE", side)
    planner = Planner({"mode": "disagg"}, Samples(((1, 100, 0, 0, 0.1),), ()), TRACE)
    found = replayed(Path(sys.executable), CASE, TRACE, fleet=Targets(1, 1), planner=planner)
    assert (found.requests, found.gpu_hours) == (2, 1)


@pytest.mark.parametrize("needed", [Targets(1, 1), Targets(3, 2), Targets(8, 8), Targets(2, 7)], ids=str)
def test_the_least_fleet_that_attains_is_found(needed: Targets) -> None:
    def run(fleet: Targets) -> Outcome:
        soon = 1.0 if fleet.prefill >= needed.prefill else 0.5
        return ran(soon if fleet.decode >= needed.decode else 0.5, ttft=soon)

    assert least_fleet(run, most=8) == needed


def test_where_nothing_attains_the_largest_fleet_is_named() -> None:
    assert least_fleet(lambda _: ran(0.5), most=4) == Targets(4, 4)


def compared() -> Compared:
    error = FitError(10, 0.01, 0.02, 0.01, 0.03)
    profiled = Profiled(next(iter(BUILTIN.values())), Samples((), ()), error, error)
    lines = (
        Line(ORACLE, (ran(0.992, 1.0),), "1.1 times the rates"),
        Line(OURS, (ran(0.98, 1.2), ran(0.99, 1.0))),
        Line("Dynamo, SLA, kalman", (ran(0.65, 1.0),)),
        Line("Dynamo, latency", (ran(0.21, 0.9),)),
    )
    return Compared(CASE, profiled, lines)


def test_rows_carry_the_goals_and_the_best_of_dynamos_modes() -> None:
    found = {row.metric: row for row in rows([compared()])}
    assert found[f"{OURS}: attained"].ok is False
    assert found[f"{OURS}: attained"].value == pytest.approx(98.5)
    assert found[f"{OURS}: GPU-hours"].ok is True
    assert found["best of Dynamo, SLA, kalman: attained"].value == pytest.approx(65)


def test_the_table_has_everyone_and_how_seeds_differ() -> None:
    text = table([compared()], command="make it")
    assert "`make it`" in text
    assert "| Dynamo, latency | 21.0 | 100.0 | 21.0 | 0.90 | 0.90 | 0 |  |" in text
    assert "98.5 (98.0 to 99.0)" in text
    assert "1.10 (1.00 to 1.20) | 1.10 |" in text
