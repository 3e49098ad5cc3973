"""``pdscale plan`` on what a metrics server knows, and by what GPUs cost."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from fakes.prometheus import FakePrometheus, Status
from fakes.threaded import in_a_thread
from pdscale import cli
from pdscale.scenarios.plans.kinds import Kind, priced

H100, A100 = "llama-3.1-8b-h100", "llama-3.1-8b-a100"
TWO: Final = ("--profile", H100, "--profile", A100, "--gpus", "12", "--no-simulate")
SMALL: Final = ("--duration", "40s", "--rate", "20")


def plan_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert cli.main(["plan", *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main(["plan", *map(str, arguments)]) == 1
    return capsys.readouterr().err


@pytest.fixture
def server() -> Iterator[FakePrometheus]:
    """Of any range query the same answer: 8 in a second, whatever of; a mean of one token a request."""
    with in_a_thread(FakePrometheus({"request_rate": 8.0})) as server:
        server.vector = [{"metric": {"__name__": "vllm:request_success_total"}, "value": [0, "60"]}]
        yield server


def test_traffic_comes_from_a_server(capsys: pytest.CaptureFixture[str], server: FakePrometheus) -> None:
    words = ("--prometheus", server.url, "--history", "20m", "--select", 'namespace="prod"')
    found = plan_of(capsys, *words, *TWO)
    assert found["source"] == f"requests per second of vLLM at {server.url}"
    assert found["settings"]["trace"] is None
    # 20 minutes in windows of one: 8/s, so that one small fleet carries all of it.
    assert found["windows"] == {"count": 20, "seconds": pytest.approx(60.0, rel=0.01)}
    assert found["plan"]["carried"] == 1.0
    asked = [a.parameters["query"] for a in server.asked if "query_range" in a.path]
    counters = ("vllm:request_success_total", "vllm:prompt_tokens_total", "vllm:generation_tokens_total")
    for counter in counters:
        assert any(counter in query and 'namespace="prod"' in query for query in asked)


def test_a_server_with_more_load_needs_more_gpus(
    capsys: pytest.CaptureFixture[str], server: FakePrometheus
) -> None:
    words = ("--prometheus", server.url, "--history", "20m", *TWO, "--lengths", "500")
    few = plan_of(capsys, *words)["plan"]["gpus"]
    server.measures["request_rate"] = lambda t: 8.0 + 24.0 * (math.sin(t / 200) > 0)
    assert plan_of(capsys, *words)["plan"]["gpus"] > few


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("--trace", "x.csv"), "--prometheus, --trace: give one of them", id="trace"),
        pytest.param(("--workload", "chat"), "--prometheus, --workload: give one of them", id="workload"),
        pytest.param(("--history", "2d"), "are more than 300000 to draw; shorten --history", id="too many"),
        pytest.param(("--bearer-file", "absent"), "--bearer-file absent: cannot be read", id="token"),
    ],
)
def test_what_does_not_go_with_a_server_is_named(
    capsys: pytest.CaptureFixture[str], server: FakePrometheus, words: tuple[str, ...], says: str
) -> None:
    assert says in complaint(capsys, "--prometheus", server.url, *words, *TWO)


def test_a_server_that_fails_is_named_with_the_next_step(
    capsys: pytest.CaptureFixture[str], server: FakePrometheus
) -> None:
    server.fault = Status(503)
    error = complaint(capsys, "--prometheus", server.url, *TWO)
    assert server.url in error
    assert "503" in error


def test_flags_about_a_server_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--select, --history: need --prometheus URL" in complaint(
        capsys, *SMALL, *TWO, "--history", "1d", "--select", "a"
    )


def test_prices_stand_beside_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *SMALL, *TWO, "--price", "2.5"]) == 0
    first, header, *rows = capsys.readouterr().out.splitlines()
    gpus = int(first.split(": ")[1].split()[0])
    assert first.endswith(f", {gpus * 2.5:.2f} an hour")
    assert "cost/h" in header
    assert f"{gpus * 2.5:.2f}" in rows[0].split()


def test_without_prices_nothing_is_said_of_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", *SMALL, *TWO]) == 0
    assert "cost" not in capsys.readouterr().out
    assert "cost" not in plan_of(capsys, *SMALL, *TWO)["plan"]


def test_the_cheapest_gpus_are_taken_and_not_the_fewest(capsys: pytest.CaptureFixture[str]) -> None:
    dear = plan_of(capsys, *SMALL, *TWO, "--price", f"{H100}=1", "--price", f"{A100}=1")
    cheap = plan_of(capsys, *SMALL, *TWO, "--price", f"{H100}=10", "--price", f"{A100}=1")
    assert cheap["profiles"] == [
        {"name": H100, "gpus": 1, "price": 10},
        {"name": A100, "gpus": 1, "price": 1},
    ]
    assert (cheap["plan"]["prefill_profile"], cheap["plan"]["decode_profile"]) == (A100, A100)
    assert cheap["plan"]["gpus"] > dear["plan"]["gpus"]
    assert cheap["plan"]["cost_per_hour"] == cheap["plan"]["gpus"]
    assert cheap["plan"]["cost"] == pytest.approx(cheap["plan"]["gpu_hours"])


def test_on_the_simulator_too_what_costs_less_wins(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--duration", "30s", "--rate", "8", "--gpus", "6", "--runs", "6")
    profiles = ("--profile", H100, "--profile", A100, "--price", f"{H100}=9", "--price", f"{A100}=1")
    found = plan_of(capsys, *words, *profiles)
    does = [a for a in found["alternatives"] if a["simulated"] and a["simulated"]["attainment"] >= 0.95]
    assert len(does) > 1
    assert found["plan"]["cost_per_hour"] == min(a["cost_per_hour"] for a in does)


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        pytest.param(("h200=1",), "'h200' is no --profile; there are: llama", id="unknown"),
        pytest.param((f"{H100}=1",), f"for all profiles or for none, {A100} has none", id="one is missing"),
        pytest.param(("0",), "--price: ", id="nothing"),
        pytest.param(("dear",), "--price: ", id="no number"),
    ],
)
def test_prices_that_say_too_little_are_refused(
    capsys: pytest.CaptureFixture[str], prices: tuple[str, ...], says: str
) -> None:
    words = [word for price in prices for word in ("--price", price)]
    assert says in complaint(capsys, *SMALL, *TWO, *words)


def test_a_file_is_priced_by_its_path_or_by_its_name(tmp_path: Path) -> None:
    kinds = (Kind(str(tmp_path / "mine.json"), 2), Kind(H100, 1))
    for name in (str(tmp_path / "mine.json"), "mine.json"):
        assert [k.price for k in priced(kinds, (f"{name}=3", f"{H100}=1.5"))] == [3.0, 1.5]
    assert [k.price for k in priced(kinds, ())] == [1.0, 1.0]
