"""What images are made of: wheels of our dependencies and of our own package, gathered on the host.

A build inside a container would need the host's certificates, proxies and package index; the host's pip
has them already. Wheels are taken for the Python of the base image, which may be another one than ours.
A folder of wheels stays as it is until the requirements or the base image's Python change.

Assumes that the host's Python has pip. pip judges markers (``python_version < "3.13"``) by the Python
that runs it; if that hides a dependency, the image's build stops and names it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pdscale_e2e.containers import ImagesUnavailable

ROOT: Final = Path(__file__).parents[2]
WHEELS: Final = ROOT / "build" / "wheels"
OWN: Final = "pdscale"
GPU_PLUGIN: Final = ("grpcio>=1.70,<2", "protobuf>=5.28,<8")
PROBE: Final = """
import json, platform, sys
print(json.dumps([*sys.version_info[:2], platform.machine(), platform.libc_ver()[1]]))
"""
_KEY: Final = ".key"
_SELF = re.compile(rf"{OWN}\[(.+)\]")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that the wheels are for."""

    version: str
    machine: str
    glibc: str

    @classmethod
    def parse(cls, printed: str) -> "Interpreter":
        """From what ``PROBE`` prints; a C library that is not glibc has no version."""
        major, minor, machine, glibc = json.loads(printed)
        if not glibc:
            raise ImagesUnavailable(f"the base image's C library must be glibc, got another one on {machine}")
        return cls(f"{major}.{minor}", machine, glibc)

    def options(self) -> list[str]:
        """pip's, newest platform first: 2.36 runs whatever was built for 2.17."""
        newest = int(self.glibc.split(".")[1])
        platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in range(newest, 4, -1)]
        platforms += [f"{old}_{self.machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1")]
        chosen = [word for platform in platforms for word in ("--platform", platform)]
        return ["--only-binary=:all:", "--implementation", "cp", "--python-version", self.version, *chosen]


def requirements(extra: str, project: Path = ROOT / "pyproject.toml") -> tuple[str, ...]:
    """The extra's requirements, with extras of our own that it names unfolded."""
    extras: dict[str, list[str]] = tomllib.loads(project.read_text())["project"]["optional-dependencies"]
    if extra not in extras:
        raise ImagesUnavailable(f"{project.name} has no extra {extra!r}; it has {', '.join(sorted(extras))}")
    return tuple(_unfolded(extras[extra], extras))


def _unfolded(given: Iterable[str], extras: dict[str, list[str]]) -> Iterable[str]:
    for requirement in given:
        if own := _SELF.fullmatch(requirement):
            for extra in own[1].split(","):
                yield from _unfolded(extras[extra.strip()], extras)
        else:
            yield requirement


def gather(name: str, wanted: Sequence[str], interpreter: Interpreter) -> Path:
    """A folder with wheels of ``wanted`` and all that they need."""
    options = interpreter.options()
    key = _digest("\0".join([*sorted(wanted), *options]).encode())
    return kept(name, key, lambda fresh: _pip(["download", f"--dest={fresh}", *options, *wanted]))


def own_package() -> Path:
    """A folder with the wheel of this checkout's ``pdscale``."""
    files = [ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")]
    for source in ("operator", "forecaster"):
        files += sorted(p for p in (ROOT / source).rglob("*") if p.is_file() and p.suffix != ".pyc")
    key = _digest(b"\0".join(str(f.relative_to(ROOT)).encode() + b"\0" + f.read_bytes() for f in files))
    return kept(OWN, key, lambda fresh: _pip(["wheel", f"--wheel-dir={fresh}", "--no-deps", str(ROOT)]))


def kept(name: str, key: str, fill: Callable[[Path], None]) -> Path:
    """The folder of that name; ``fill`` makes it anew if it was made for another ``key``."""
    folder = WHEELS / name
    stamp = folder / _KEY
    if stamp.is_file() and stamp.read_text() == key:
        return folder
    WHEELS.mkdir(parents=True, exist_ok=True)
    print(f"images: gathering wheels into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=WHEELS, prefix=f".{name}-") as scratch:
        fresh = Path(scratch) / name
        fill(fresh)
        (fresh / _KEY).write_text(key)
        # The old folder goes only when the new one is complete.
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    return folder


def _pip(arguments: Sequence[str]) -> None:
    call = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    # The same sources give the same wheel, byte for byte, and so the same layer.
    environ: dict[str, Any] = {"SOURCE_DATE_EPOCH": "1577836800", **os.environ}
    ended = subprocess.run(call, capture_output=True, text=True, check=False, env=environ)
    if ended.returncode:
        raise ImagesUnavailable(f"pip could not {arguments[0]} wheels: {ended.stderr.strip()}")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
