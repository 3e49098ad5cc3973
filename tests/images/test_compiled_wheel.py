"""The wheel with compiled modules: its name, its record, and where pip takes it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pdscale_e2e import compiled_wheel
from pdscale_e2e.compiling import HERE, CannotCompile
from pdscale_e2e.wheels import Interpreter

WHEEL = "Wheel-Version: 1.0\nGenerator: hatchling 1.27.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    file = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("thing/__init__.py", "")
        wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        wheel.writestr("thing-1.0.dist-info/WHEEL", WHEEL)
        wheel.writestr("thing-1.0.dist-info/RECORD", "thing/__init__.py,,\n")
    return file


def _made(folder: Path, plain: Path, python: Interpreter = HERE) -> Path:
    folder.mkdir()
    return compiled_wheel.write(folder, plain, {"thing/fast.so": b"\x7fELF"}, compiled_wheel.tag(python))


def _installed(wheel: Path, into: Path) -> subprocess.CompletedProcess[str]:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    command = [*pip, "--no-compile", "--target", str(into), str(wheel)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tag_names_python_abi_and_platform() -> None:
    assert compiled_wheel.tag(Interpreter("3.11", "aarch64", "2.36")) == "cp311-cp311-linux_aarch64"


def test_pip_installs_it_with_the_library_beside_the_sources(tmp_path: Path, plain: Path) -> None:
    ended = _installed(_made(tmp_path / "made", plain), tmp_path / "app")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "app" / "thing" / "fast.so").read_bytes() == b"\x7fELF"
    assert (tmp_path / "app" / "thing" / "__init__.py").is_file()


def test_pip_refuses_it_for_another_python(tmp_path: Path, plain: Path) -> None:
    wheel = _made(tmp_path / "made", plain, Interpreter("3.9", HERE.machine, HERE.glibc))
    assert "not a supported wheel" in _installed(wheel, tmp_path / "app").stderr


def test_it_says_inside_what_its_name_says_and_lists_all_it_holds(tmp_path: Path, plain: Path) -> None:
    with zipfile.ZipFile(_made(tmp_path / "made", plain, Interpreter("3.11", "x86_64", "2.36"))) as wheel:
        said = wheel.read("thing-1.0.dist-info/WHEEL").decode()
        record = wheel.read("thing-1.0.dist-info/RECORD").decode().splitlines()
        held = wheel.namelist()
    assert "Root-Is-Purelib: false" in said
    assert "Tag: cp311-cp311-linux_x86_64" in said
    assert "py3-none-any" not in said
    assert sorted(line.split(",")[0] for line in record) == sorted(held)
    # printf '\x7fELF' | openssl dgst -sha256 -binary | basenc --base64url
    assert "thing/fast.so,sha256=O9u0_oOXzSuEJDCznM_wGoZjx1GUXvXpoJ4mf7ix01k,4" in record


def test_the_same_parts_give_the_same_bytes(tmp_path: Path, plain: Path) -> None:
    first, second = (_made(tmp_path / name, plain).read_bytes() for name in ("one", "two"))
    assert first == second


def test_only_a_pure_wheel_can_be_added_to(tmp_path: Path, plain: Path) -> None:
    done = _made(tmp_path / "made", plain)
    with pytest.raises(CannotCompile, match=r"must be a pure one, got thing-1\.0-cp"):
        compiled_wheel.write(tmp_path, done, {}, "cp311-cp311-linux_x86_64")


def test_another_image_is_refused_before_anything_is_compiled() -> None:
    with pytest.raises(CannotCompile, match=r"must be for the image's Python, 2\.7"):
        compiled_wheel.gather(Interpreter("2.7", HERE.machine, HERE.glibc))
