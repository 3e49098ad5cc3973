"""``pdscale forecast`` and ``pdscale backtest``, from arguments to what they print."""

import json
import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.prometheus import Body, FakePrometheus, Status
from fakes.prometheus import Fault as ServerFault
from fakes.threaded import in_a_thread
from pdscale import cli
from pdscale.scenarios.forecasts.replaying import runs
from pdscale.scenarios.forecasts.tables import BACKTEST_SCHEMA, FORECAST_SCHEMA
from pdscale.scenarios.reading import read_settings
from pdscale_forecaster import AUTO, MODELS

QUICK = ("--lead", "1m", "--season", "1h")


@pytest.fixture(scope="module")
def rates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five hours of minutes around 20/s, with a gap of ten minutes."""
    file = tmp_path_factory.mktemp("rates") / "rates.csv"
    rng = random.Random(1)
    rows = [
        f"{60 * i},60,{20 + 5 * math.sin(i / 20) + rng.gauss(0, 1):.3f},3000,300,{int(100 <= i < 110)}"
        for i in range(300)
    ]
    head = "timestamp_s,window_s,requests_per_s,mean_input_tokens,mean_output_tokens,gap"
    file.write_text("\n".join((head, *rows)) + "\n")
    return file


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty minutes of requests, two a second."""
    file = tmp_path_factory.mktemp("requests") / "requests.csv"
    rng, at, rows = random.Random(2), 0.0, []
    while at < 1200:
        rows.append(f"{at:.3f},{rng.randint(200, 400)},{rng.randint(20, 40)},100")
        at += rng.expovariate(2.0)
    file.write_text("\n".join(("timestamp_s,input_tokens,output_tokens,cached_tokens", *rows)) + "\n")
    return file


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main([str(word) for word in arguments]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(capsys, *arguments, "--json"))
    return found


def test_a_forecast_is_a_band_at_each_lead_time(capsys: pytest.CaptureFixture[str], rates: Path) -> None:
    lines = told(capsys, "forecast", "--trace", rates, "--lead", "1m,5m", "--season", "1h").splitlines()
    assert lines[0].startswith("rates.csv: requests per second; 300 samples of 1m, 97% known; newest ")
    # A note comes where a model was switched off, here who believes in the hour.
    assert lines[1].split()[:8] == ["ahead", "10", "%", "middle", "90", "%", "model", "held"]
    for line, ahead in zip(lines[2:], ("1m", "5m"), strict=True):
        cells = re.split(r"\s{2,}", line)
        assert cells[0] == ahead
        assert 10 < float(cells[1]) <= float(cells[2]) <= float(cells[3]) < 40
        assert cells[4] in MODELS


def test_json_has_a_schema_and_what_was_read(capsys: pytest.CaptureFixture[str], rates: Path) -> None:
    found = document(capsys, "forecast", "--trace", rates, *QUICK, "--model", "LastValue")
    assert found["schema"] == FORECAST_SCHEMA
    assert (found["samples"], found["known"], found["step"]) == (300, 290, 60.0)
    (one,) = found["forecasts"]
    assert one["model"] == "LastValue"
    assert one["low"] <= one["middle"] <= one["high"]
    assert 0.5 < one["coverage"] <= 1


def test_a_past_that_is_too_short_says_how_much_is_needed(
    capsys: pytest.CaptureFixture[str], requests: Path
) -> None:
    out = told(capsys, "forecast", "--trace", requests, "--lead", "15m", "--step", "1m")
    assert "15m: " in out
    assert "needs" in out


def test_requests_are_counted_in_bins(capsys: pytest.CaptureFixture[str], requests: Path) -> None:
    found = document(capsys, "forecast", "--trace", requests, *QUICK)
    assert (found["step"], found["samples"]) == (15.0, 79)
    tokens = document(capsys, "forecast", "--trace", requests, *QUICK, "--figure", "input-tokens")
    prompts = document(capsys, "forecast", "--trace", requests, *QUICK, "--figure", "prompt-tokens")
    # 300 tokens a prompt in the mean, of which 100 had been cached.
    assert tokens["newest"] / found["newest"] == pytest.approx(200, rel=0.1)
    assert prompts["newest"] / found["newest"] == pytest.approx(300, rel=0.1)


def test_a_coarser_step_takes_means(capsys: pytest.CaptureFixture[str], rates: Path) -> None:
    found = document(capsys, "forecast", "--trace", rates, "--lead", "10m", "--step", "5m")
    assert (found["step"], found["samples"]) == (300.0, 60)


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        pytest.param("band.svg", "<svg xmlns=", id="svg"),
        pytest.param("band.html", "<!doctype html>", id="html"),
    ],
)
def test_a_plot_is_one_file_with_the_band(
    capsys: pytest.CaptureFixture[str], rates: Path, tmp_path: Path, name: str, begins: str
) -> None:
    told(capsys, "forecast", "--trace", rates, *QUICK, "--model", "LastValue", "--plot", tmp_path / name)
    drawn = (tmp_path / name).read_text()
    assert drawn.startswith(begins)
    assert 'fill-opacity="0.2"' in drawn
    assert "band of 10% to 90%" in drawn
    assert "nan" not in drawn
    assert not re.search(r"<script|src=|href=", drawn)


def test_a_backtest_judges_models_at_lead_times_and_against_the_last_value(
    capsys: pytest.CaptureFixture[str], rates: Path
) -> None:
    words = ("--lead", "1m,5m", "--origins", "30", "--models", f"{AUTO},LastValue,Level")
    found = document(capsys, "backtest", "--trace", rates, *words)
    assert found["schema"] == BACKTEST_SCHEMA
    assert [(s["lead"], s["model"]) for s in found["scores"]] == [
        (lead, model) for lead in (60.0, 300.0) for model in (AUTO, "LastValue", "Level")
    ]
    for score in found["scores"]:
        assert score["origins"] >= 20
        assert score["pinball"] > 0
        assert 0 <= score["coverage"] <= 1
        assert score["wape"] > 0
        if score["model"] != AUTO:  # which may have been the last value throughout
            assert (score["gain"] == 0) is (score["model"] == "LastValue")
        assert bool(score["chosen"]) is (score["model"] == AUTO)
    assert found["replays"] == []


def test_requests_go_through_planner_and_simulator_too(
    capsys: pytest.CaptureFixture[str], requests: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = (*QUICK, "--origins", "10", "--models", "LastValue", "--scaling", "HPA,Pdscale")
    out = told(capsys, "backtest", "--trace", requests, *words, "--excerpt", "0s..5m", "--report", page)
    rules = [re.split(r"\s{2,}", line)[0] for line in out.partition("sized by")[2].splitlines()[1:]]
    assert rules == ["HPA", "Pdscale, LastValue", "Pdscale, Auto"]
    html = page.read_text()
    assert html.count("<svg ") == 3  # what was said and what came, cost, replicas
    assert "Through planner and simulator" in html
    assert not re.search(r"<script|src=|href=", html)


def test_unless_told_otherwise_hindsight_hpa_and_last_value_are_compared_with() -> None:
    assert runs(read_settings({})) == len(("OracleStatic", "HPA", "Pdscale, LastValue", "Pdscale, Auto"))
    assert runs(read_settings({"forecast": "LastValue"})) == 3


def test_the_same_arguments_give_the_same_bits(capsys: pytest.CaptureFixture[str], rates: Path) -> None:
    words = ("backtest", "--trace", rates, *QUICK, "--origins", "20", "--json")
    assert told(capsys, *words) == told(capsys, *words)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(
            ["forecast"], "one of --prometheus URL and --trace PATH is needed, got neither", id="none"
        ),
        pytest.param(["forecast", "--trace", "x", "--prometheus", "http://p"], "got both", id="both"),
        pytest.param(["forecast", "--trace", "absent.csv"], "absent.csv: cannot be read", id="no file"),
        pytest.param(["forecast", "--trace", "x", "--model", "Arima"], "must be one of Auto, ", id="model"),
        pytest.param(["backtest", "--trace", "RATES", "--models", "Arima"], "got Arima", id="models"),
        pytest.param(
            ["forecast", "--trace", "RATES", "--step", "7s"], "multiple of the file's windows", id="step"
        ),
        pytest.param(
            ["forecast", "--trace", "RATES", "--lead", "soon"], "--lead: duration must look", id="lead"
        ),
        pytest.param(
            ["forecast", "--trace", "x", "--plot", "band.png"], "must end in .svg or .html", id="plot"
        ),
        pytest.param(["forecast", "--trace", "x", "--plot", "no/where.svg"], "make it first", id="folder"),
        pytest.param(["forecast", "--prometheus", "p:9090"], "must begin with http://", id="address"),
        pytest.param(
            ["forecast", "--prometheus", "http://127.0.0.1:9"], "refused; is the address", id="refused"
        ),
        pytest.param(
            ["forecast", "--prometheus", "http://p", "--bearer-file", "absent"], "cannot be read", id="token"
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_next_step(
    capsys: pytest.CaptureFixture[str], rates: Path, arguments: list[str], says: str
) -> None:
    assert cli.main([str(rates) if word == "RATES" else word for word in arguments]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    assert says in captured.err


@pytest.mark.parametrize(
    ("flag", "content", "says"),
    [
        pytest.param("--bearer-file", "two words", "bearer token must be one word", id="token"),
        pytest.param("--basic-file", "me", "must hold USER:PASSWORD", id="user"),
        pytest.param("--cert-file", "x", "--key-file must be given together", id="half a pair"),
        pytest.param("--ca-file", "x", "the CA must be certificates in PEM", id="authority"),
    ],
)
def test_a_file_that_holds_something_else_is_told_by_its_own_flag(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, flag: str, content: str, says: str
) -> None:
    (tmp_path / "file").write_text(content)
    assert cli.main(["forecast", "--prometheus", "https://127.0.0.1:9", flag, str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"pdscale forecast: {flag}")
    assert says in error


def test_a_flag_that_nobody_knows_is_told_with_the_way_to_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["forecast", "--qantile", "0.9"])
    assert ended.value.code == 2
    assert "try: pdscale forecast --help" in capsys.readouterr().err


# ---- From a metrics server.


def _has(name: str) -> list[dict[str, Any]]:
    return [{"metric": {"__name__": name}, "value": [0, "60"]}]


@pytest.fixture
def server() -> Iterator[FakePrometheus]:
    with in_a_thread(FakePrometheus({"request_rate": lambda t: 20 + 5 * math.sin(t / 1200)})) as server:
        yield server


@pytest.mark.parametrize(
    ("counter", "exporter"),
    [
        pytest.param("pdscale_router_requests_received_total", "pdscale routers", id="routers"),
        pytest.param("vllm:request_success_total", "vLLM", id="vllm"),
        pytest.param("sglang:num_requests_total", "SGLang", id="sglang"),
    ],
)
def test_whoever_exports_requests_is_found(
    capsys: pytest.CaptureFixture[str], server: FakePrometheus, counter: str, exporter: str
) -> None:
    server.vector = _has(counter)
    words = (*QUICK, "--history", "3h", "--model", "LastValue", "--select", 'namespace="prod"')
    found = document(capsys, "forecast", "--prometheus", server.url, *words)
    assert found["load"] == f"requests per second of {exporter}"
    assert found["known"] == 180
    query = server.asked[-1].parameters["query"]
    assert query.startswith(f"sum(rate({counter}{{")
    # The fake counts 60 scrapes an hour, one a minute; a rate wants four of them.
    assert query.endswith('namespace="prod"}[240s]))')


def test_a_query_of_ones_own_is_asked_as_it_is(
    capsys: pytest.CaptureFixture[str], server: FakePrometheus
) -> None:
    words = (*QUICK, "--history", "3h", "--model", "LastValue", "--query", "sum(rate(mine[$window]))")
    document(capsys, "forecast", "--prometheus", server.url, *words)
    assert {asked.parameters["query"] for asked in server.asked} == {"sum(rate(mine[240s]))"}  # four scrapes


def test_credentials_come_from_files(
    capsys: pytest.CaptureFixture[str], server: FakePrometheus, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("t0k3n\n")
    words = (*QUICK, "--history", "3h", "--model", "LastValue", "--query", "mine")
    document(capsys, "forecast", "--prometheus", server.url, *words, "--bearer-file", tmp_path / "token")
    assert server.asked[0].headers["authorization"] == "Bearer t0k3n"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(None, "no series of pdscale routers, vLLM, SGLang of the last hour", id="nothing there"),
        pytest.param(Status(503), "503", id="server error"),
        pytest.param(Status(401), "change --query, --select or the credentials", id="unauthorised"),
        pytest.param(Body(b"<html>"), "malformed answer", id="no Prometheus"),
    ],
)
def test_a_server_that_does_not_help_is_named_with_the_next_step(
    capsys: pytest.CaptureFixture[str], server: FakePrometheus, fault: ServerFault | None, says: str
) -> None:
    server.fault = fault
    assert cli.main(["forecast", "--prometheus", server.url, *QUICK]) == 1
    error = capsys.readouterr().err
    assert server.url in error
    assert says in error
    assert error.count("\n") == 1
