"""What is compiled, and when nothing can be; the compiler itself runs in ``make test-compiled``."""

import sys
from pathlib import Path

import pytest

from pdscale_e2e import compiling
from pdscale_e2e.compiling import CannotCompile
from pdscale_e2e.wheels import Interpreter

HERE = Interpreter("3.11", "x86_64", "2.36")


def test_the_modules_to_be_compiled_are_there() -> None:
    assert [name for name in compiling.files() if not (compiling.SOURCES / name).is_file()] == []


def test_an_image_of_the_same_python_and_machine_can_have_it_whatever_its_glibc() -> None:
    compiling.fits(Interpreter("3.11", "x86_64", "2.31"), HERE)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        pytest.param(Interpreter("3.12", "x86_64", "2.36"), "Python, 3.12, got 3.11", id="Python"),
        pytest.param(Interpreter("3.11", "aarch64", "2.36"), "aarch64, got x86_64", id="architecture"),
    ],
)
def test_an_image_of_another_kind_is_refused_with_both_kinds(image: Interpreter, said: str) -> None:
    with pytest.raises(CannotCompile, match=said):
        compiling.fits(image, HERE)


def test_a_missing_compiler_is_named_with_the_command_that_was_tried(tmp_path: Path) -> None:
    (said,) = compiling.lacking({"CC": "nocc -O2", "PATH": str(tmp_path)})
    assert said.startswith("a C compiler (tried 'nocc -O2'")


def test_a_compiler_on_the_path_is_enough(tmp_path: Path) -> None:
    compiler = tmp_path / "mycc"
    compiler.touch(mode=0o755)
    assert not [what for what in compiling.lacking({"CC": "mycc -O2", "PATH": str(tmp_path)}) if "CC" in what]


def test_a_machine_that_lacks_something_compiles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "nocc")
    with pytest.raises(CannotCompile, match="compiling needs a C compiler"):
        compiling.compiled(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_modules_that_are_imported_as_sources_are_no_proof(tmp_path: Path) -> None:
    def run(code: str) -> str:
        return compiling.run([sys.executable, "-c", code], compiling.SOURCES)

    with pytest.raises(CannotCompile, match=f"{len(compiling.names())} modules .* imported as sources"):
        compiling.prove(run)


def test_what_a_command_said_last_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(CannotCompile, match=r"(?s)code 1:.*GLIBC_2.99"):
        compiling.run([sys.executable, "-c", "raise ImportError('GLIBC_2.99 not found')"], tmp_path)
