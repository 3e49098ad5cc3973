"""Each image has the packages of one extra; what its process imports beyond fails only in a pod, or here."""

import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from fakes.needs import needed
from pdscale_e2e.wheels import requirements

_OURS = {"pdscale", "pdscale_forecaster"}
_WITHOUT = """
import sys
from importlib import import_module
from importlib.machinery import PathFinder

entry, *lacking = sys.argv[1:]

class Found(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in lacking else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Found
import_module(entry)
"""


@pytest.mark.parametrize(
    ("extras", "entry"),
    [
        ("operator", "pdscale.controller.wiring"),
        ("operator", "pdscale.cli"),
        ("router", "pdscale.router.__main__"),
        ("emulator", "pdscale.emulator.__main__"),
        ("router,endpoint-picker", "pdscale.router.picker.service"),
    ],
)
def test_a_process_starts_with_the_packages_of_its_extras_alone(extras: str, entry: str) -> None:
    there = set(needed([each for extra in extras.split(",") for each in requirements(extra)]))
    lacking = [
        module
        for module, owners in packages_distributions().items()
        if module not in _OURS and there.isdisjoint(map(canonicalize_name, owners))
    ]
    assert {"httpx", "pytest"} <= set(lacking)
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, entry, *lacking], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
