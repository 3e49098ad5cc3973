"""No command on a page escapes: ours are understood here, others' are typed by an end-to-end test."""

import argparse
import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from pdscale.api.translate import read_strictly
from pdscale.controller import asking, dashboard
from pdscale.controller.questions import QUESTIONS
from pdscale.scenarios.command import parser_of as studies
from pdscale.scenarios.forecasts.command import parser_of as forecasts
from pdscale.scenarios.plans.command import parser as plans
from pdscale.scenarios.profiling.command import parser as profiles
from pdscale_e2e.page import Block, blocks, inline

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = {page.stem: page.read_text() for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
MAKEFILE: Final = (ROOT / "Makefile").read_text()
TYPED: Final = (ROOT / "e2e" / "test_pages_as_typed.py").read_text()
ON_KIND: Final = "quick-start-kind"  # typed from top to bottom by e2e/product/test_quick_start.py
OURS: Final = ("pdscale ", "kubectl pdscale ", ".venv/bin/pdscale ")
PARSERS: Final[dict[str, Callable[[], argparse.ArgumentParser]]] = {
    "simulate": lambda: studies("simulate"),
    "compare": lambda: studies("compare"),
    "plan": plans,
    "profile": profiles,
    "forecast": lambda: forecasts("forecast"),
    "backtest": lambda: forecasts("backtest"),
    "dashboard": lambda: dashboard.parser("pdscale"),
}


def lines(block: Block) -> list[str]:
    return [line for line in block.script.replace("\\\n", " ").splitlines() if line.strip()]


def commands(*beginnings: str) -> list[object]:
    """In fenced blocks and inside of sentences, with the page that they stand on."""
    return [
        pytest.param(command, id=f"{page}: {command}")
        for page, text in PAGES.items()
        for command in dict.fromkeys(
            [*(line for b in blocks(text) for line in lines(b)), *inline(text, beginnings)]
        )
        if command.startswith(beginnings)
    ]


@pytest.mark.parametrize("command", commands(*OURS))
def test_a_command_of_ours_is_understood_by_its_own_parser(command: str) -> None:
    words = shlex.split(command, comments=True)
    name, *arguments = words[words.index("pdscale") + 1 :] if "pdscale" in words else words[1:]
    if "--help" in arguments:
        assert name in PARSERS
    elif name in QUESTIONS:
        assert asking.parser("pdscale").parse_args([name, *arguments]).name
    else:
        PARSERS[name]().parse_args(arguments)  # a slip ends the program, which fails the test


@pytest.mark.parametrize("command", commands("make "))
def test_a_target_and_its_variables_are_in_the_makefile(command: str) -> None:
    _, *words = shlex.split(command, comments=True)
    for word in words:
        variable, equals, _ = word.partition("=")
        if equals:
            assert f"$({variable})" in MAKEFILE or f"$(if $({variable})" in MAKEFILE, word
        else:
            assert re.search(rf"^{re.escape(word)}:|bench-%:.*{re.escape(word)}", MAKEFILE, re.M) or (
                word.startswith("bench-") and (ROOT / "benchmarks" / word.removeprefix("bench-")).is_dir()
            ), word


@pytest.mark.parametrize("command", commands("python -m ", ".venv/bin/python -m "))
def test_a_module_that_is_run_exists_and_knows_its_flags(command: str) -> None:
    _, _, module, *arguments = shlex.split(command.split(" | ")[0])
    places = [base / module.replace(".", "/") for base in (ROOT, ROOT / "e2e")]
    (found,) = (
        p for place in places for p in (place / "__main__.py", place.with_suffix(".py")) if p.exists()
    )
    source = "".join(file.read_text() for file in found.parent.glob("*.py"))
    assert [word for word in arguments if word.startswith("--") and f'"{word}"' not in source] == []


def typed() -> set[tuple[str, str]]:
    """(page, beginning of a block) that the end-to-end test types; constants in f-strings by their value."""
    tree = ast.parse(TYPED)
    values = {"INSTALL": "helm install pdscale charts/pdscale --namespace pdscale-system --create-namespace"}

    def text(node: ast.expr) -> str:
        if isinstance(node, ast.JoinedStr):
            return "".join(text(part) for part in node.values)
        if isinstance(node, ast.FormattedValue):
            assert isinstance(node.value, ast.Name)
            return values[node.value.id]
        assert isinstance(node, ast.Constant)
        return str(node.value)

    calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute))
    return {
        (text(call.args[0]), text(call.args[1]))
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "types"
    }


def others() -> Iterator[object]:
    """Blocks with a command that is not ours, and is not said to be run by somebody else."""
    for page, text in PAGES.items():
        for block in blocks(text):
            known = (*OURS, "make ")
            foreign = any(not line.startswith(known) for line in lines(block))
            if page != ON_KIND and block.run_by == "reader" and foreign:
                yield pytest.param(page.lower(), block.script, id=f"{page}, line {block.line}")


@pytest.mark.parametrize(("page", "script"), [*others()])
def test_a_block_of_other_programs_is_typed_on_a_cluster(page: str, script: str) -> None:
    found = [start for of, start in typed() if of == page and f"\n{start}" in f"\n{script}"]
    assert len(found) == 1, "type it in e2e/test_pages_as_typed.py"


def test_what_the_end_to_end_test_types_stands_on_a_page() -> None:
    stands = {page.lower(): [f"\n{b.script}" for b in blocks(text)] for page, text in PAGES.items()}
    missing = [(p, s) for p, s in typed() if not any(f"\n{s}" in script for script in stands[p])]
    assert missing == []


def test_what_only_kind_can_run_is_run_there() -> None:
    told = [b.script for text in PAGES.values() for b in blocks(text) if b.run_by == "kind"]
    assert told == ["helm test pdscale --namespace pdscale-system\n"]
    assert "helm_test(" in (ROOT / "e2e" / "product" / "test_helm_test.py").read_text()


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGES["README"], re.S))
def test_a_manifest_of_the_readme_is_valid(text: str) -> None:
    assert read_strictly(yaml.safe_load(text)).spec.gpu_budget == 48
