"""One long-running program of the test bed: its process, its log, its end.

The log is a file, because a pipe that nobody reads stops its writer. A program that dies early is the
usual failure of a test bed, so whoever waits for one asks ``check_alive`` and gets the end of the log.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class ComponentDied(RuntimeError):
    """A program of the test bed ended by itself; the message carries the end of its log."""


@dataclass(slots=True)
class Component:
    """A program that can be started, stopped and started again with the same arguments."""

    name: str
    argv: Sequence[str | Path]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    stop_within: float = 5.0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        if self.running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # In a session of its own: Ctrl-C goes to the test run alone, which then stops us in order.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                start_new_session=True,
            )

    def check_alive(self) -> None:
        if self._process is not None and not self.running:
            raise ComponentDied(
                f"{self.name} ended with code {self._process.returncode}; "
                f"the end of {self.log}:\n{self.tail()}"
            )

    def signal(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def stop(self) -> None:
        """Ask it to end, and make it end when it does not."""
        self.signal(signal.SIGTERM)
        self._reap(self.stop_within)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self._reap(self.stop_within)

    def _reap(self, within: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def tail(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def stop_all(components: Sequence[Component]) -> None:
    """Stop in reverse order of start; asking all first makes them end side by side."""
    for component in reversed(components):
        component.signal(signal.SIGTERM)
    for component in reversed(components):
        component.stop()
