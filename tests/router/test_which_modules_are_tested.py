"""``make test-compiled`` runs these folders on compiled modules: that it does is a test, too."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from fakes.programs import SOURCES
from pdscale_e2e import compiling

WANTED = ".so" if os.environ.get("PDSCALE_COMPILED") else ".py"


@pytest.mark.parametrize("name", compiling.names())
def test_a_module_is_tested_in_the_form_that_was_asked_for(name: str) -> None:
    assert Path(str(import_module(name).__file__)).suffix == WANTED


def test_programs_that_tests_start_import_the_same_form() -> None:
    code = "from pdscale.router.flows import front; print(front.__file__)"
    environ = {**os.environ, "PYTHONPATH": str(SOURCES)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert Path(told.stdout.strip()).suffix == WANTED
