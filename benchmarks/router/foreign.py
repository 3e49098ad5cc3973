"""The peers' programs: nginx and HAProxy from the path, the Rust routers from their published wheels."""

import os
import shutil
from pathlib import Path
from typing import Final

from pdscale_e2e.foreign_wheels import NotInstalled, programs

PINS: Final = ("vllm-router==0.1.17", "sglang-router==0.3.2")


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
    try:
        return programs("rust-routers", PINS)
    except NotInstalled as error:
        raise Missing(str(error)) from error
