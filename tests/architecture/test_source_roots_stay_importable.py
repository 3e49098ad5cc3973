"""The folder ``operator/`` shares its name with a module of the standard library, and must not shadow it."""

import operator
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_operator_is_the_standard_librarys() -> None:
    assert Path(operator.__file__).is_relative_to(sysconfig.get_path("stdlib"))


def test_source_roots_hold_packages_only() -> None:
    for root in ("operator", "forecaster"):
        loose = [p.name for p in (ROOT / root).iterdir() if p.suffix in (".py", ".pyi")]
        assert loose == [], f"{root}/ must hold packages only"


def test_no_tests_lie_under_a_source_root() -> None:
    for root in ("operator", "forecaster"):
        found = [*(ROOT / root).rglob("conftest.py"), *(ROOT / root).rglob("test_*.py")]
        assert found == []


def test_test_folders_are_no_packages_but_for_the_fakes() -> None:
    packages = {p.parent.relative_to(ROOT / "tests").parts[:1] for p in (ROOT / "tests").rglob("__init__.py")}
    assert packages <= {("fakes",)}
