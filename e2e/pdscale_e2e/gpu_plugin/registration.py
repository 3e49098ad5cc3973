"""Being known to the kubelet, through its restarts.

A kubelet that starts forgets its plugins, empties their folder and makes its socket anew. It tells
nobody, so this looks at the folder: another kubelet socket, or none of our own, means that we must
serve and register again.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final

from pdscale_e2e.gpu_plugin.gpus import Gpus
from pdscale_e2e.gpu_plugin.rpc import KubeletUnavailable, register, serving
from pdscale_e2e.nodes.spec import GPU

FOLDER: Final = "/var/lib/kubelet/device-plugins"  # fixed by the kubelet
_log: Final = logging.getLogger(__name__)


class Registration:
    """One plugin at one kubelet; ``folder`` holds the sockets of both."""

    def __init__(self, gpus: Gpus, folder: Path, *, look_every: float = 1.0) -> None:
        self._gpus = gpus
        self._kubelet = folder / "kubelet.sock"
        self._own = folder / "pdscale-gpu.sock"
        self._look_every = look_every
        self.registered = False

    async def keep(self) -> None:
        """Stay registered until cancelled."""
        while True:
            if (kubelet := _identity(self._kubelet)) is not None:
                await self._serve(kubelet)
            await asyncio.sleep(self._look_every)

    async def _serve(self, kubelet: tuple[int, ...]) -> None:
        async with serving(self._gpus, self._own):
            try:
                await register(self._kubelet, endpoint=self._own.name, resource=GPU)
                _log.info("registered %d GPUs", len(self._gpus.health))
                self.registered = True
                await self._until_restarted(kubelet)
                _log.info("the kubelet has been restarted")
            except KubeletUnavailable as error:
                _log.warning("not registered: %s", error)
            finally:
                self.registered = False

    async def _until_restarted(self, kubelet: tuple[int, ...]) -> None:
        while _identity(self._kubelet) == kubelet and _identity(self._own) is not None:  # noqa: ASYNC110
            await asyncio.sleep(self._look_every)


def _identity(socket: Path) -> tuple[int, ...] | None:
    """Differs between two files of the same name, also where inodes are used again; None without one."""
    try:
        found = socket.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
