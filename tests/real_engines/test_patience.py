"""The plugin reaches engines however their command is made, and makes NIXL wait."""

import subprocess
import sys
from pathlib import Path

import pytest

from pdscale_e2e.engines.command import Vllm
from pdscale_e2e.engines.patience import patient

# What vLLM does in each of its processes, and what NIXL's agent does then.
ENGINE = """
import sys
from importlib.metadata import entry_points
for plugin in entry_points(group="vllm.general_plugins"):
    plugin.load()()
from nixl._api import nixlBind
config = nixlBind.nixlAgentConfig()
config.pthrDelay = int(sys.argv[1])
print(config.pthrDelay)
"""
NIXL = """
class Config:
    @property
    def pthrDelay(self): return self.delay
    @pthrDelay.setter
    def pthrDelay(self, value): self.delay = value
class nixlBind:
    nixlAgentConfig = Config
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with an engine and a NIXL, as an environment's packages lie there."""
    (tmp_path / "nixl").mkdir()
    (tmp_path / "nixl" / "__init__.py").touch()
    (tmp_path / "nixl" / "_api.py").write_text(NIXL)
    (tmp_path / "engine.py").write_text(ENGINE)
    return tmp_path


def command(site: Path, *lines: str) -> Vllm:
    path = site / "vllm"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return Vllm(path, site)


def delay_of(vllm: Vllm, folder: Path, asked: int) -> int:
    folder.mkdir()
    words = [str(patient(vllm, folder).command), str(asked)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def test_a_command_that_sets_its_own_path_and_runs_a_module_is_patient(site: Path, tmp_path: Path) -> None:
    vllm = command(site, f"export PYTHONPATH={site}", f'exec {sys.executable} -m engine "$@"')
    assert delay_of(vllm, tmp_path / "with a space", 0) == 1000


def test_a_command_that_runs_a_script_is_patient(site: Path, tmp_path: Path) -> None:
    vllm = command(site, f'exec {sys.executable} {site / "engine.py"} "$@"')
    assert delay_of(vllm, tmp_path / "plain", 0) == 1000


def test_an_engine_that_is_more_patient_stays_so(site: Path, tmp_path: Path) -> None:
    vllm = command(site, f'exec {sys.executable} {site / "engine.py"} "$@"')
    assert delay_of(vllm, tmp_path / "plain", 5000) == 5000
