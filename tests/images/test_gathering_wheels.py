"""Which wheels an image asks for; pip itself is not run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pdscale_e2e import wheels
from pdscale_e2e.containers import ImagesUnavailable
from pdscale_e2e.wheels import Interpreter, gather, requirements

PYTHON = Interpreter("3.11", "x86_64", "2.36")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """What pip would have been called with; the wheels go to a folder of the test's own."""
    calls: list[Sequence[str]] = []

    def pip(arguments: Sequence[str]) -> None:
        calls.append(arguments)
        folder = next(a for a in arguments if a.startswith(("--dest=", "--wheel-dir="))).partition("=")[2]
        Path(folder).mkdir()
        (Path(folder) / f"{len(calls)}.whl").touch()

    monkeypatch.setattr(wheels, "WHEELS", tmp_path / "wheels")
    monkeypatch.setattr(wheels, "ROOT", tmp_path)
    monkeypatch.setattr(wheels, "_pip", pip)
    return calls


def _names(found: Sequence[str]) -> set[str]:
    return {name.split(">")[0].split("=")[0] for name in found}


def test_the_routers_requirements_are_its_extra_only() -> None:
    foreign = {"kopf", "kubernetes", "pydantic", "scikit-learn", "numpy", "prometheus-api-client"}
    assert _names(requirements("router")).isdisjoint(foreign)
    assert "aiohttp" in _names(requirements("router"))


def test_the_emulator_needs_what_the_router_needs_and_shares_its_layers() -> None:
    assert set(requirements("emulator")) <= set(requirements("router"))


def test_an_extra_of_our_own_is_unfolded() -> None:
    found = _names(requirements("operator"))
    assert {"kopf", "scikit-learn", "numpy"} <= found
    assert not any(name.startswith("pdscale") for name in found)


def test_an_unknown_extra_is_named() -> None:
    with pytest.raises(ImagesUnavailable, match=r"no extra 'nope'; it has emulator"):
        requirements("nope")


def test_wheels_are_for_the_base_images_python_and_not_for_ours() -> None:
    options = Interpreter.parse('[3, 12, "aarch64", "2.31"]').options()
    assert options[options.index("--python-version") + 1] == "3.12"
    platforms = [word for word in options if word.endswith("aarch64")]
    assert platforms[0] == "manylinux_2_31_aarch64"
    assert "manylinux2014_aarch64" in platforms


def test_a_base_image_without_glibc_is_refused() -> None:
    with pytest.raises(ImagesUnavailable, match="must be glibc"):
        Interpreter.parse('[3, 11, "x86_64", ""]')


def test_wheels_are_gathered_once(asked: list[Sequence[str]]) -> None:
    first = gather("router", ("a>=1",), PYTHON)
    assert gather("router", ("a>=1",), PYTHON) == first
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("wanted", "python"),
    [
        pytest.param(("a>=2",), PYTHON, id="other requirements"),
        pytest.param(("a>=1",), Interpreter("3.12", "x86_64", "2.36"), id="another Python"),
    ],
)
def test_a_change_replaces_the_whole_folder(
    asked: list[Sequence[str]], wanted: Sequence[str], python: Interpreter
) -> None:
    gather("router", ("a>=1",), PYTHON)
    folder = gather("router", wanted, python)
    assert [path.name for path in folder.glob("*.whl")] == ["2.whl"]


def test_a_failed_download_leaves_the_old_wheels(
    asked: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = gather("router", ("a>=1",), PYTHON)

    def pip(arguments: Sequence[str]) -> None:
        raise ImagesUnavailable("no index")

    monkeypatch.setattr(wheels, "_pip", pip)
    with pytest.raises(ImagesUnavailable):
        gather("router", ("a>=2",), PYTHON)
    assert [path.name for path in folder.glob("*.whl")] == ["1.whl"]
