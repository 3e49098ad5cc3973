"""The page's commands and its scenario are read as they stand."""

import re
import shlex
from pathlib import Path

import pytest

from pdscale.scenarios.command import parser_of
from pdscale.scenarios.comparing import cases_of, the_only
from pdscale.scenarios.reading import read_settings
from pdscale.scenarios.settings import PlacementName, ScalingName

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text()
LINES = [
    " ".join(line.split()) for line in re.findall(r"pdscale (?:simulate|compare) [^`\n]*--[^`\n]*", PAGE)
]


@pytest.mark.parametrize("line", [line for line in LINES if line != "pdscale simulate --help"])
def test_a_command_of_the_page_is_understood(line: str) -> None:
    _, command, *arguments = shlex.split(line)
    flags = vars(parser_of(command).parse_args(arguments))
    settings = read_settings(flags)
    assert the_only(settings) if command == "simulate" else cases_of(settings, grid=False)


def test_the_page_has_commands() -> None:
    assert len(LINES) >= 7


def test_the_scenario_of_the_page_is_understood(tmp_path: Path) -> None:
    (document,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    file = tmp_path / "scenario.yaml"
    file.write_text(document)
    assert len(cases_of(read_settings({}, file), grid=False)) == 5 * 9


def test_the_page_names_every_rule() -> None:
    assert all(f"`{name}`" in PAGE for name in ScalingName)
    assert f"`{PlacementName.COLOCATED}`" in PAGE
