"""Pictures of pages, taken by a headless Chromium."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from pdscale_e2e.pictures.palette import smaller

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


class NoBrowser(RuntimeError):
    """There is no Chromium here, or it could not take the picture."""


def found() -> str:
    for name in NAMES:
        if there := shutil.which(name):
            return there
    raise NoBrowser(f"none of {', '.join(NAMES)} is installed (Debian: apt install chromium)")


def picture(url: str, into: Path, *, size: tuple[int, int]) -> None:
    """A PNG of the page, after its scripts have asked and drawn."""
    with tempfile.TemporaryDirectory(prefix="pdscale-browser-") as profile:
        command = [
            found(),
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
            "--virtual-time-budget=1500",
            f"--screenshot={into.resolve()}",
            url,
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if ended.returncode or not into.is_file():
        raise NoBrowser(f"Chromium ended with {ended.returncode}: {ended.stderr[-400:].strip()}")
    into.write_bytes(smaller(into.read_bytes()))
