"""A container's process as the event loop sees it: started, signalled, ended.

Its end is learned from a pidfd, not from a thread per process. The whole process group goes with its
leader, as a container's processes go with its first one; only what opens a session of its own stays,
until the namespace ends.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from pdscale_e2e.nodes.launch import Launch

_ROOT: Final = str(Path(__file__).resolve().parents[2])
_ARGV: Final = (sys.executable, "-S", "-m", "pdscale_e2e.nodes.launch")


class Process:
    """One run of one command."""

    def __init__(self, launch: Launch, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as letter, log.open("ab") as output:
            letter.write(launch.to_json())
            letter.seek(0)
            self._process = subprocess.Popen(
                _ARGV,
                stdin=letter,
                stdout=output,
                stderr=output,
                env={"PYTHONPATH": _ROOT, "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
            )
        self.log = log
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = loop.create_future()
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._pidfd, self._bury)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _bury(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        # The leader is not waited for yet, so its number still names this group and no other.
        self._signal_group(signal.SIGKILL)
        code = self._process.wait()
        if not self._ended.done():
            self._ended.set_result(code if code >= 0 else 128 - code)

    async def wait(self) -> int:
        """The exit code as container runtimes say it: 137 when ended by signal 9."""
        return await asyncio.shield(self._ended)

    async def ends_within(self, seconds: float) -> bool:
        done, _ = await asyncio.wait([self._ended], timeout=seconds)
        return bool(done)

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            pass

    async def stop(self, grace: float) -> None:
        """SIGTERM goes to the first process alone, as container runtimes send it."""
        if not self._ended.done():
            os.kill(self._process.pid, signal.SIGTERM)
            if not await self.ends_within(grace):
                self.kill()
        await self.wait()

    def kill(self) -> None:
        if not self._ended.done():
            self._signal_group(signal.SIGKILL)


async def run_to_end(launch: Launch, log: Path, within: float) -> int | None:
    """Run a short command; ``None`` when it did not end in time, and was ended."""
    process = Process(launch, log)
    try:
        if await process.ends_within(within):
            return await process.wait()
        return None
    finally:
        process.kill()
