"""The router with what a request runs through compiled to C, as a copy of the package.

    python -m pdscale_e2e.compiling                          # make compiled; some minutes, then kept
    PYTHONPATH=build/compiled-router python -m pdscale.router ...

mypyc takes the annotated sources as they are; what it makes stands beside them, and an interpreter that finds
it takes it instead. Nothing else changes: without the compiled files the same copy runs as plain Python.

What was compiled loads where Python has the same minor version, the machine has the same architecture, and
glibc is not older than here: so compile on a machine whose glibc is not newer than the image's. The rule is
on the safe side, since a library needs a newer glibc only for what it calls; ``prove`` says if it loads.

Left as they are: what no request meets, the values of ``pdscale.model`` (``ClusterView`` is made without its
constructor, which native classes refuse), policies other than the simple ones, and ``wire.server`` (a list
comes where the library's annotations promise a tuple, and compiled code looks).
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pdscale_e2e.containers import ImagesUnavailable
from pdscale_e2e.wheels import ROOT, Interpreter

SOURCES: Final = ROOT / "operator"
FOLDER: Final = ROOT / "build" / "compiled-router"
HERE: Final = Interpreter(
    f"{sys.version_info[0]}.{sys.version_info[1]}", platform.machine(), platform.libc_ver()[1]
)
MODULES: Final[Mapping[str, str]] = {
    "engines": "answers hygiene splice ledger history vllm capability",
    "placement": "admission binding candidates continuity correction exchange fewest_late freshness identity "
    "lengths named ordering pledged policy prefills session_log shortest window",
    "router": "guard meters sums surface traffic",
    "router/fleet": "loads own peers roster",
    "router/flows": "capabilities delivery front gate judge plain prefill prefiller_header proxy search "
    "session_gaps sidecar tools turnstile",
    "router/hop": "client_lines inbound legs outlet pace",
    "router/wire": "answer_head errand errors framing incoming inlet link links parsing phase reply request "
    "turns",
}
_SETUP: Final = """
from mypyc.build import mypycify
from setuptools import setup

with open("mypy.ini", "w") as checks:
    checks.write("[mypy]\\nignore_missing_imports = True\\nfollow_imports = silent\\n")
flags = ["--config-file", "mypy.ini"]
extensions = mypycify([*flags, *{files}], opt_level="3", debug_level="0", multi_file=True)
setup(name="compiled", packages=[], ext_modules=extensions)
"""
_PROOF: Final = """
import importlib, json
files = {{name: importlib.import_module(name).__file__ for name in {names}}}
print(json.dumps([name for name, file in files.items() if not file.endswith(".so")]))
"""
_KEY: Final = ".key"


class CannotCompile(ImagesUnavailable):
    """Nothing can be compiled here, or not for that image; the message says what is missing."""


def files() -> list[str]:
    """What is compiled, from the package's parent on."""
    return [f"pdscale/{folder}/{name}.py" for folder, names in MODULES.items() for name in names.split()]


def names() -> list[str]:
    """The same as Python imports it."""
    return [file.removesuffix(".py").replace("/", ".") for file in files()]


def libraries(folder: Path) -> list[Path]:
    """What the compiler made: one file for each module, and the one that they share."""
    return sorted(folder.rglob("*.so"))


def lacking(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """What this machine would need before it could compile."""
    for module, package in (("mypyc", "mypy"), ("setuptools", "setuptools")):
        if importlib.util.find_spec(module) is None:
            yield f"the package {package} (pip install {package})"
    command = environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(shlex.split(command)[0], path=environ.get("PATH")) is None:
        yield f"a C compiler (tried {command!r}; install one or set CC)"
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        yield f"Python's headers (no {header.name} for Python {HERE.version}; install its -dev package)"


def fits(image: Interpreter, here: Interpreter = HERE) -> None:
    """Refuse an image that what is compiled here can never load in; its glibc is judged by ``prove``."""
    for what, theirs, ours in (
        ("Python", image.version, here.version),
        ("architecture", image.machine, here.machine),
    ):
        if theirs != ours:
            raise CannotCompile(
                f"what is compiled must be for the image's {what}, {theirs}, got {ours} on this machine"
            )


def prove(run: Callable[[str], str]) -> None:
    """``run`` has a Python execute code and gives what it prints; raise unless all modules come compiled."""
    plain = json.loads(run(_PROOF.format(names=names())))
    if plain:
        raise CannotCompile(f"{len(plain)} modules that were compiled are imported as sources: {plain[:3]}")


def compiled(folder: Path = FOLDER) -> Path:
    """The folder; compiled again only if the sources, the compiler or the choice of modules have changed."""
    if missing := list(lacking()):
        raise CannotCompile(f"compiling needs {' and '.join(missing)}")
    key, stamp = _key(), folder / _KEY
    if stamp.is_file() and stamp.read_text() == key:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    print("compiled: compiling, which takes some minutes", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = _made(Path(scratch))
        (fresh / _KEY).write_text(key)
        # The old folder goes only when the new one is complete.
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return folder


def _made(scratch: Path) -> Path:
    work, fresh = scratch / "work", scratch / "fresh"
    shutil.copytree(SOURCES / "pdscale", work / "pdscale", ignore=shutil.ignore_patterns("__pycache__"))
    (work / "setup.py").write_text(_SETUP.format(files=files()))
    run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], work)
    shutil.rmtree(work / "build")  # its objects, and every library a second time
    fresh.mkdir()
    for path in (work / "pdscale", *work.glob("*.so")):
        path.rename(fresh / path.name)
    prove(lambda code: run([sys.executable, "-c", code], fresh))
    for cache in list(fresh.rglob("__pycache__")):
        shutil.rmtree(cache)
    return fresh


def run(command: list[str], folder: Path) -> str:
    """What it prints, where ``folder`` is the first place for imports."""
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    ended = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if ended.returncode:
        told = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-20:])
        raise CannotCompile(f"compiling ended with code {ended.returncode}:\n{told}")
    return ended.stdout


def _key() -> str:
    """Of all that the outcome depends on."""
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC")
    made_by = (sys.version, HERE, importlib.metadata.version("mypy"), compiler, _SETUP, files())
    content = hashlib.sha256(repr(made_by).encode())
    for path in sorted((SOURCES / "pdscale").rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            content.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes() + b"\0")
    return content.hexdigest()


def main() -> None:
    try:
        folder = compiled()
    except CannotCompile as error:
        sys.exit(f"compiled: {error}")
    shown = folder.relative_to(ROOT)
    made = sum(path.stat().st_size for path in libraries(folder)) / 1e6
    counts = ", ".join(f"{len(each.split())} of {where}" for where, each in MODULES.items())
    print(f"compiled: {len(files())} modules for Python {HERE.version}, {HERE.machine}, glibc {HERE.glibc}")
    print(f"compiled: {counts}")
    print(f"compiled: {made:.1f} MB of libraries beside the sources in {shown}")
    print(f"compiled: PYTHONPATH={shown} python -m pdscale.router --help")


if __name__ == "__main__":
    main()
