"""Two emulated engines with the options of the real ones, for comparison."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pdscale_e2e.asking import ask
from pdscale_e2e.component import Component, stop_all
from pdscale_e2e.engines.command import BLOCK, MAX_MODEL_LEN, SERVED
from pdscale_e2e.engines.processes import PORT
from pdscale_e2e.waiting import eventually


@contextmanager
def emulated_engines(
    addresses: Sequence[str], *, transfer: Mapping[str, Any], logs: Path
) -> Iterator[list[str]]:
    """URLs of engines that answer; the processes end with the block."""
    made = [_engine(address, transfer, logs) for address in addresses]
    urls = [f"http://{address}:{PORT}" for address in addresses]
    try:
        for component in made:
            component.start()
        for component, url in zip(made, urls, strict=True):
            _wait_healthy(component, url)
        yield urls
    finally:
        stop_all(made)


def _engine(address: str, transfer: Mapping[str, Any], logs: Path) -> Component:
    words = (
        *(sys.executable, "-m", "pdscale.emulator", "--host", address, "--port", str(PORT)),
        *("--model", SERVED, "--profile", "llama-2-70b-a100-tp8-2023"),
        *("--max-model-len", str(MAX_MODEL_LEN), "--block-size", str(BLOCK)),
        *("--side-channel-host", address, "--enable-prompt-tokens-details"),
        *("--kv-transfer-config", json.dumps(transfer)),
    )
    return Component(f"emulated-{address}", words, logs / f"emulated-{address}.log")


def _wait_healthy(component: Component, url: str) -> None:
    def healthy() -> bool:
        component.check_alive()
        ask("GET", f"{url}/health")
        return True

    eventually(healthy, within=30, what=f"the emulated engine at {url} is healthy")
