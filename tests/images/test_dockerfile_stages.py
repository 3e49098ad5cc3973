"""What the Dockerfile promises, read from its text: no engine is needed."""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest

from pdscale_e2e.images import TARGETS
from pdscale_e2e.sbom import FOLDERS

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    name: str
    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.lines if word == instruction]


def _stages() -> dict[str, Stage]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = found[name] = Stage(name, base)
        elif line and found:
            stage.lines.append((word, rest))
    return found


STAGES = _stages()


def _ancestors(name: str) -> list[Stage]:
    """The stage and those that it starts from, nearest first."""
    stage = STAGES[name]
    return [stage, *(_ancestors(stage.base) if stage.base in STAGES else [])]


def _copied(name: str) -> set[str]:
    """Everything from the build context that reaches the stage, directly or through other stages."""
    found: set[str] = set()
    for stage in _ancestors(name):
        for copy in stage.all("COPY"):
            source = re.match(r"--from=(\S+)", copy)
            found |= _copied(source[1]) if source else {_by_default(stage, copy.split()[0])}
    return found


def _by_default(stage: Stage, path: str) -> str:
    for argument in stage.all("ARG"):
        name, _, default = argument.partition("=")
        path = path.replace(f"${{{name}}}", default)
    return path


def test_the_stages_of_targets_are_in_the_order_in_which_ingredients_are_gathered() -> None:
    assert [name for name in STAGES if name in TARGETS] == list(TARGETS)


def test_the_base_image_is_an_argument_without_a_registry() -> None:
    assert "ARG BASE_IMAGE=python:3.11-slim" in (ROOT / "Dockerfile").read_text()
    assert {s.base for s in STAGES.values()} <= {"${BASE_IMAGE}", "scratch", *STAGES}


@pytest.mark.parametrize("target", TARGETS)
def test_no_image_runs_as_root(target: str) -> None:
    users = [user for stage in _ancestors(target) for user in stage.all("USER")]
    assert users[:1] == ["65532:65532"]


@pytest.mark.parametrize("target", TARGETS)
def test_no_image_contains_the_stage_that_builds(target: str) -> None:
    assert "build" not in [stage.name for stage in _ancestors(target)]
    copies = [copy for stage in _ancestors(target) for copy in stage.all("COPY")]
    assert not [copy for copy in copies if copy.startswith("--from=build ") or "/pip" in copy]


@pytest.mark.parametrize("target", [t for t in TARGETS if t != "prometheus"])
def test_every_python_image_leaves_its_root_alone(target: str) -> None:
    settings = " ".join(line for stage in _ancestors(target) for line in stage.all("ENV"))
    assert "PYTHONDONTWRITEBYTECODE=1" in settings
    assert "PATH=/opt/pdscale/bin:$PATH" in settings


@pytest.mark.parametrize("target", TARGETS)
def test_every_image_starts_something_of_its_own(target: str) -> None:
    assert len(STAGES[target].all("ENTRYPOINT")) == 1


@pytest.mark.parametrize("target", ["router", "emulator"])
def test_router_and_emulator_carry_the_routers_libraries_and_nothing_else(target: str) -> None:
    assert _copied(target) == {"build/wheels/router", "build/wheels/pdscale"}


def test_the_endpoint_picker_is_the_router_with_one_extra_more() -> None:
    assert [stage.name for stage in _ancestors("endpoint-picker")][1] == "router"
    assert _copied("endpoint-picker") == {*_copied("router"), "build/wheels/endpoint-picker"}
    assert STAGES["endpoint-picker"].all("ENTRYPOINT") == STAGES["router"].all("ENTRYPOINT")


def test_the_operator_carries_its_own_libraries_and_not_the_test_bed() -> None:
    assert _copied("operator") == {"build/wheels/operator", "build/wheels/pdscale"}


def test_everything_that_is_copied_passes_the_ignore_file() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    let_in = [line[1:] for line in lines if line.startswith("!")]
    for source in set().union(*map(_copied, TARGETS)):
        assert any(source == folder or fnmatch(source, f"{folder}/*") for folder in let_in), source


@pytest.mark.parametrize("target", TARGETS)
def test_the_bill_of_an_image_is_read_from_the_wheels_that_reach_it(target: str) -> None:
    wheels = {path.removeprefix("build/wheels/") for path in _copied(target) if "wheels" in path}
    assert set(FOLDERS[target]) == wheels
