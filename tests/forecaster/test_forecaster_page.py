"""The page about the library: its example runs as printed, and its table names every model."""

import re
from pathlib import Path

import pytest

from pdscale_forecaster import MODELS

PAGE = (Path(__file__).parents[2] / "docs/forecaster.md").read_text(encoding="utf-8")


def test_the_example_runs_and_says_something_at_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/forecaster.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 41
    assert all(
        re.fullmatch(r"below [\d.]+, probably [\d.]+, says \w+; held \d+% of the time", s) for s in said
    )


def test_the_table_names_every_model() -> None:
    table = PAGE.split("## Models")[1].split("\n\nModels say")[0]
    named = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if "|" in line else "")
    }
    assert named == set(MODELS)
