"""The peers' programs: nginx and HAProxy from the path, the Rust routers from their published wheels.

The wheels hold compiled servers and bring libraries that are none of ours: they live in an environment
of their own under the user's cache, keyed by what is asked for, and are installed once.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Lock
from typing import Final

from pdscale_e2e.binaries import cache_folder

PINS: Final = ("vllm-router==0.1.17", "sglang-router==0.3.2")
_ONE_AT_A_TIME: Final = Lock()  # stacks are started from several threads


class Missing(RuntimeError):
    """A peer that cannot be had here; the message says why, or how to get it."""


def on_path(name: str, package: str) -> Path:
    # Distributions put servers where users' paths do not look.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is not installed (Debian: apt install {package})")
    return Path(found)


def rust_routers() -> Path:
    """The folder with the environment's programs."""
    key = hashlib.sha256(" ".join((*PINS, sys.version)).encode()).hexdigest()[:12]
    folder = cache_folder().parent / f"rust-routers-{key}"
    with _ONE_AT_A_TIME:
        if not (folder / ".complete").exists():
            _install(folder)
    return folder / "bin"


def _install(folder: Path) -> None:
    print(f"installing {', '.join(PINS)} into {folder} ...", file=sys.stderr, flush=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
        subprocess.run([*pip, "--only-binary", ":all:", *PINS], check=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        raise Missing(f"the wheels {', '.join(PINS)} cannot be installed: {error}") from error
    (folder / ".complete").touch()
