"""The page's commands, flags and manifest are read as they stand."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from pdscale.api.v1alpha1 import Prometheus
from pdscale.prom.client import MEASURES
from pdscale.prom.survey import Figure
from pdscale.scenarios.forecasts.asked import BACKTEST, FORECAST, asked
from pdscale.scenarios.forecasts.command import parser_of
from pdscale.scenarios.forecasts.tables import REPLAYS, SCORES

PAGE = (Path(__file__).parents[2] / "docs" / "forecasting.md").read_text()
LINES = re.findall(r"^pdscale (?:forecast|backtest) .*$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_page_is_understood(line: str) -> None:
    _, command, *arguments = shlex.split(line)
    flags = vars(parser_of(command).parse_args(arguments))
    assert (
        asked(FORECAST if command == "forecast" else BACKTEST, flags).prometheus == "http://prometheus:9090"
    )


def test_the_page_has_both_commands() -> None:
    assert {line.split()[1] for line in LINES} == {"forecast", "backtest"}


def test_every_flag_that_the_page_names_exists() -> None:
    known = "".join(parser_of(command).format_help() for command in ("forecast", "backtest"))
    named = set(re.findall(r"`?(--[a-z][a-z-]+)", PAGE))
    assert len(named) > 12
    assert not [flag for flag in named if flag not in known]


def test_the_page_explains_every_figure_and_column() -> None:
    assert all(f"`{figure}`" in PAGE for figure in Figure)
    explained = {"ahead", "model", "forecasts"}  # a lead time, a name and a count say what they are
    assert all(f"| {name} |" in PAGE for name, _ in SCORES if name not in explained)
    assert "GPU-hours" in PAGE
    assert {name for name, _ in REPLAYS} >= {"GPU-h", "both %"}


def test_the_manifest_of_the_page_is_a_metrics_server() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    wanted = Prometheus.model_validate(yaml.safe_load(text)["prometheus"], extra="forbid")
    assert wanted.auth is not None
    assert wanted.queries.request_rate is not None


def test_every_query_that_the_resource_replaces_is_a_figure_of_a_history() -> None:
    assert set(Prometheus(url="http://p").queries.model_dump()) < set(MEASURES)
