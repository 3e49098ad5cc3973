"""Engine pods as pairs of processes, an emulated engine and its sidecar, that come and go in a fake API.

Each has a loopback address of its own, as pods have: a port of a dead one is nobody else's.
"""

import asyncio
import json
import signal
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp

from fakes.pods_api import FakePodsApi, pod
from fakes.programs import Program, Programs
from pdscale.model.pools import Role

TRANSFER = {
    "kv_connector": "NixlConnector",
    "kv_role": "kv_both",
    "kv_connector_extra_config": {"bidirectional_kv_xfer": True},
}
ENGINE = ("--model", "fake", "--enable-prompt-tokens-details", "--kv-transfer-config", json.dumps(TRANSFER))


@dataclass
class Replica:
    name: str
    role: Role
    engine: Program
    sidecar: Program
    ready: bool = True

    def pod(self, **changes: Any) -> dict[str, Any]:
        ports = {"http_port": self.sidecar.port, "admin_port": self.sidecar.admin_port}
        return pod(self.name, self.role, ip=self.engine.host, **{**ports, "ready": self.ready, **changes})


class Replicas:
    """``common`` are the arguments of every router; what is in ``here`` takes work as far as anyone knows."""

    def __init__(
        self,
        programs: Programs,
        api: FakePodsApi,
        *,
        engine: tuple[str, ...] = (),
        sidecar: tuple[str, ...] = (),
    ) -> None:
        self._programs, self._api = programs, api
        self._engine, self._sidecar = engine, sidecar
        self._numbers = count()
        self.here: dict[str, Replica] = {}
        self.common = ("--deployment", "chat", "--api-url", api.url)

    def of(self, role: Role) -> list[Replica]:
        return [r for r in self.here.values() if r.role is role and r.ready]

    async def add(self, role: Role) -> Replica:
        number = next(self._numbers)
        name, host = f"{role[0]}-{number}", f"127.0.{1 + number // 250}.{1 + number % 250}"
        engine = await self._programs.engine(*ENGINE, *self._engine, host=host)
        sidecar = await self._programs.router(
            *("--place", "sidecar", "--pod-name", name, "--engine-url", engine.url),
            *(*self.common, *self._sidecar),
            host=host,
        )
        replica = Replica(name, role, engine, sidecar, ready=False)
        await self._api.apply(replica.pod())
        await self._until_ready(replica)
        self.here[name] = replica
        return replica

    async def kill(self, replica: Replica, *, noticed_after: float) -> None:
        """Both processes at once, as when a node dies; the API hears of it later."""
        del self.here[replica.name]
        for program in (replica.engine, replica.sidecar):
            program.signal(signal.SIGKILL)
        await asyncio.sleep(noticed_after)
        await self._api.delete(replica.name)

    async def crash(self, replica: Replica, *, noticed_after: float) -> None:
        """The engine only; it comes back empty, at its old address, as a container that is restarted."""
        replica.ready = False
        replica.engine.signal(signal.SIGKILL)
        await replica.engine.process.wait()
        await asyncio.sleep(noticed_after)
        await self._api.apply(replica.pod())
        replica.engine = await self._programs.engine(
            *(*ENGINE, *self._engine, "--port", str(replica.engine.port)), host=replica.engine.host
        )
        await self._until_ready(replica)

    async def retire(self, replica: Replica) -> None:
        """As a scale-down does it: no new work, an end of what is open, then the signal."""
        del self.here[replica.name]
        await self._api.apply(replica.pod(deleting=True))
        async with aiohttp.ClientSession() as http, http.get(f"{replica.sidecar.admin}/drained") as answer:
            assert (await answer.text()).strip() == "drained"
        await replica.engine.end()
        await replica.sidecar.end()
        await self._api.delete(replica.name)

    async def _until_ready(self, replica: Replica) -> None:
        deadline = asyncio.get_running_loop().time() + 30
        async with aiohttp.ClientSession() as http:
            while True:
                async with http.get(f"{replica.sidecar.admin}/readyz") as answer:
                    if answer.status == 200:
                        break
                    missing = await answer.text()
                assert asyncio.get_running_loop().time() < deadline, f"{replica.name}: {missing}"
                await asyncio.sleep(0.05)
        replica.ready = True
        await self._api.apply(replica.pod())
