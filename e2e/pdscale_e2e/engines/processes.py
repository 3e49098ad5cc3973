"""Real engines as processes: started together, killed, started again, ended.

A start takes the better part of a minute of one core, so whoever needs several starts them at once and waits
for all.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from pdscale_e2e.asking import ask
from pdscale_e2e.engines.command import Vllm, engine_start
from pdscale_e2e.engines.figures import Figures, figures
from pdscale_e2e.waiting import eventually

PORT: Final = 8000
_STARTS_WITHIN: Final = 420.0
_NICE: Final = 5


class EngineEnded(RuntimeError):
    """An engine is gone that nobody killed; the message has the end of its log."""


@dataclass(slots=True)
class RealEngine:
    """One engine at an address of its own. vLLM's own processes are in its session and go with it."""

    vllm: Vllm
    address: str
    transfer: Mapping[str, Any]
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{PORT}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def answers(self) -> bool:
        """Not so while it starts."""
        try:
            return self.running and self._healthy()
        except OSError:
            return False

    def start(self) -> None:
        start = engine_start(self.vllm, self.address, transfer=self.transfer)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["nice", "-n", str(_NICE), *start.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=start.env,
                start_new_session=True,
            )

    def wait_healthy(self) -> None:
        what = f"the engine at {self.url} is healthy"
        eventually(self._healthy, within=_STARTS_WITHIN, what=what, every=0.5)

    def kill(self) -> None:
        """As a crash or a lost node would: every process of it at once."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGKILL)

    def figures(self) -> Figures:
        return figures(self.url)

    def kv_usage(self) -> float:
        return self.figures().total("vllm:kv_cache_usage_perc")

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _healthy(self) -> bool:
        if not self.running:
            raise EngineEnded(f"the engine at {self.address} ended; the end of {self.log}:\n{self.tail()}")
        ask("GET", f"{self.url}/health", timeout=5)
        return True

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass  # it has ended by itself
        process.wait()


@contextmanager
def real_engines(
    vllm: Vllm, wanted: Sequence[tuple[str, Mapping[str, Any]]], *, logs: Path
) -> Iterator[list[RealEngine]]:
    """Engines that answer, by address and transfer configuration; none outlives the block."""
    logs.mkdir(parents=True, exist_ok=True)
    engines = [RealEngine(vllm, a, transfer, logs / f"engine-{a}.log") for a, transfer in wanted]
    try:
        for engine in engines:
            engine.start()
        for engine in engines:
            engine.wait_healthy()
        yield engines
    finally:
        for engine in engines:
            engine.stop()


def revive(engines: Sequence[RealEngine]) -> None:
    """Start again, side by side, what a test has killed; one that is on its way up is waited for."""
    for engine in engines:
        if not engine.running:
            engine.start()
    for engine in engines:
        engine.wait_healthy()


def wait_free(engines: Sequence[RealEngine], *, within: float) -> None:
    """Until no engine holds a block: neither a request's nor one that is pinned for another engine."""
    for engine in engines:
        eventually(
            partial(_is_free, engine), within=within, what=f"the engine at {engine.address} holds no block"
        )


def _is_free(engine: RealEngine) -> bool:
    return engine.kv_usage() == 0
