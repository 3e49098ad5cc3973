"""One data plane on loopback, as processes: emulated engines, a sidecar beside each, one front.

Engines outlive a policy, sidecars and front do not: a policy starts with nothing learned. Sessions of two
runs never share a prefix, so that an engine's cache is as good as new.
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.router.site import HOST, free_port
from pdscale.model.pools import Role
from pdscale.model.slo import SLO
from pdscale.perf.document import profile_document
from pdscale.perf.profile import Profile
from pdscale.router.policies import PolicyName

_PATIENCE: Final = 60.0
_PLACED: Final = re.compile(r"pdscale_router_placements_total\{(.*?)\} (\S+)")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
_TRANSFER: Final = {
    "kv_connector": "NixlConnector",
    "kv_role": "kv_both",
    # As the operator renders it. With vLLM's own 480 s, pinned histories fill the memory within minutes.
    "kv_connector_extra_config": {"bidirectional_kv_xfer": True, "decoder_kv_blocks_ttl": 60},
}


class NotReady(RuntimeError):
    """A process that does not serve; the message says which."""


@dataclass(frozen=True, slots=True)
class Plant:
    """What the engines are. ``window`` is the longest context."""

    profile: Profile
    prefill: int
    decode: int
    window: int
    slo: SLO


@dataclass(frozen=True, slots=True)
class _Replica:
    name: str
    role: Role
    host: str
    engine: int
    port: int
    admin: int

    @property
    def peer(self) -> str:
        return f"{self.role}={self.name}={self.host}:{self.port}:{self.admin}"


@dataclass
class Lane:
    """``open`` once, then ``route`` and ``unroute`` for each policy, ``close`` at the end."""

    plant: Plant
    http: aiohttp.ClientSession
    folder: Path
    number: int = 0
    port: int = 0
    _replicas: list[_Replica] = field(default_factory=list)
    _engines: list[asyncio.subprocess.Process] = field(default_factory=list)
    _routers: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def open(self) -> None:
        plant, profile = self.plant, self._profile()
        profile.write_text(json.dumps(profile_document(plant.profile)))
        roles = [Role.PREFILL] * plant.prefill + [Role.DECODE] * plant.decode
        self._replicas = [
            _Replica(f"{role[0]}-{n}", role, self._host(n), free_port(), free_port(), free_port())
            for n, role in enumerate(roles)
        ]
        for replica in self._replicas:
            arguments = (
                *("--host", replica.host, "--port", str(replica.engine), "--model", "bench"),
                *("--profile-file", str(profile), "--max-model-len", str(plant.window)),
                *("--kv-transfer-config", json.dumps(_TRANSFER), "--enable-prompt-tokens-details"),
                *("--side-channel-host", replica.host, "--side-channel-port", str(free_port())),
            )
            self._engines.append(await self._start("pdscale.emulator", arguments))
        await self._all(lambda r: self._answers(f"http://{r.host}:{r.engine}/health"))

    async def route(self, policy: PolicyName) -> None:
        """Sidecars and front with this policy; returns when they are ready."""
        for r in self._replicas:
            engine = ("--pod-name", r.name, "--engine-url", f"http://{r.host}:{r.engine}")
            listen = _listening(r.host, r.port, r.admin)
            self._routers.append(await self._router("sidecar", *listen, *engine, "--placement", policy))
        await self._all(lambda r: self._answers(f"http://{r.host}:{r.admin}/readyz"))
        self.port, admin = free_port(), free_port()
        self._routers.append(await self._router("front", *_listening(HOST, self.port, admin)))
        await self._answers(f"http://{HOST}:{admin}/readyz")

    async def placements(self) -> Counter[tuple[str, str]]:
        """(placement, reason) of all decisions of the present policy."""
        found: Counter[tuple[str, str]] = Counter()
        for replica in self._replicas:
            if replica.role is not Role.DECODE:
                continue
            async with self.http.get(f"http://{replica.host}:{replica.admin}/metrics") as answer:
                for labels, figure in _PLACED.findall(await answer.text()):
                    told = dict(_LABEL.findall(labels))
                    found[told["placement"], told["reason"]] += round(float(figure))
        return found

    @property
    def engines(self) -> list[int]:
        return [process.pid for process in self._engines]

    @property
    def routers(self) -> list[int]:
        return [process.pid for process in self._routers]

    async def unroute(self) -> None:
        await _end(self._routers)
        self._routers = []

    async def close(self) -> None:
        await _end([*self._routers, *self._engines])

    async def _router(self, place: str, *arguments: str) -> asyncio.subprocess.Process:
        peers, slo = ",".join(r.peer for r in self._replicas), self.plant.slo
        limits = ("--ttft", f"{slo.ttft * 1e3:g}ms", "--tpot", f"{slo.tpot * 1e3:g}ms")
        common = ("--static-endpoints", peers, "--profile-file", str(self._profile()), *limits)
        return await self._start("pdscale.router", ("--place", place, *arguments, *common))

    def _profile(self) -> Path:
        return self.folder / f"profile-{self.number}.json"

    def _host(self, number: int) -> str:
        """An address of its own, as pods have: nobody else takes its ports between choosing and listening."""
        return f"127.{16 + os.getpid() % 200}.{self.number}.{1 + number}"

    async def _start(self, module: str, arguments: Sequence[str]) -> asyncio.subprocess.Process:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("POD_", "KUBERNETES_"))}
        with (self.folder / f"lane-{self.number}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *arguments), stdout=log, stderr=log, env=environment
            )

    async def _all(self, until: Callable[[_Replica], Coroutine[Any, Any, None]]) -> None:
        await asyncio.gather(*(until(replica) for replica in self._replicas))

    async def _answers(self, url: str) -> None:
        clock = asyncio.get_running_loop().time
        deadline, wrong = clock() + _PATIENCE, "nothing"
        while clock() < deadline:
            try:
                async with self.http.get(url) as answer:
                    if answer.status == 200:
                        return
                    wrong = f"{answer.status} {await answer.text()}"
            except aiohttp.ClientError as error:
                wrong = repr(error)
            await asyncio.sleep(0.1)
        said = (self.folder / f"lane-{self.number}.log").read_text(errors="replace")[-600:]
        raise NotReady(f"{url} did not answer 200 within {_PATIENCE:g} s, last {wrong}; logged: {said}")


def _listening(host: str, port: int, admin: int) -> tuple[str, ...]:
    return ("--host", host, "--port", str(port), "--admin-port", str(admin))


async def _end(processes: Sequence[asyncio.subprocess.Process]) -> None:
    """The measurement is over: nothing that they still do is of interest."""
    for process in processes:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
    for process in processes:
        await process.wait()
