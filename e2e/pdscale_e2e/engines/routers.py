"""Front router, sidecars and gates around engines that run already: processes of a test, gone with it.

An engine's role is what the test says; the engines themselves are all alike. Peers are static, so a router
goes on believing in an engine that was killed, as it does before Kubernetes tells it.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale.model.pools import Role
from pdscale_e2e.asking import Unsuccessful, ask
from pdscale_e2e.component import Component, stop_all
from pdscale_e2e.engines.figures import Figures, figures
from pdscale_e2e.engines.processes import RealEngine
from pdscale_e2e.waiting import eventually

_HTTP: Final = 8080
_ADMIN: Final = 9090
_PROFILE: Final = "llama-2-70b-a100-tp8-2023"


@dataclass(frozen=True, slots=True)
class Routers:
    """``url`` is where clients go; ``sidecars`` are admin URLs by the engine's address."""

    url: str
    sidecars: Mapping[str, str]
    components: Sequence[Component]

    def at(self, engine: RealEngine) -> Figures:
        return figures(self.sidecars[engine.address])

    def placements(self) -> dict[tuple[str, str], int]:
        """Rounds by placement and reason, over all sidecars."""
        counts: dict[tuple[str, str], int] = {}
        for admin in self.sidecars.values():
            for s in figures(admin).samples:
                if s.name == "pdscale_router_placements_total":
                    key = (s.labels["placement"], s.labels["reason"])
                    counts[key] = counts.get(key, 0) + int(s.value)
        return {key: count for key, count in counts.items() if count}


@contextmanager
def routers(
    prefill: Sequence[RealEngine],
    decode: Sequence[RealEngine],
    *,
    front: str,
    logs: Path,
    sidecar: Sequence[str] = (),
    seen_at: Mapping[str, str] | None = None,
) -> Iterator[Routers]:
    """``front`` is the front router's address; ``sidecar`` are further arguments of each sidecar.

    ``seen_at`` says where peers believe an engine's gate to be, by the engine's address, if not there.
    """
    known = seen_at or {}
    roles = [(Role.PREFILL, e) for e in prefill] + [(Role.DECODE, e) for e in decode]
    peers = ",".join(f"{role}={_name(role, e)}={known.get(e.address, e.address)}" for role, e in roles)
    common = ("--deployment", "real", "--static-endpoints", peers, "--profile", _PROFILE)
    limits = ("--ttft", "5s", "--tpot", "1s")
    made = [_router("front", front, "--place", "front", *common, *limits, logs=logs)]
    for role, engine in roles:
        name = _name(role, engine)
        own = ("--place", "sidecar", "--pod-name", name, "--engine-url", engine.url)
        made.append(_router(name, engine.address, *own, *common, *limits, *sidecar, logs=logs))
    sidecars = {engine.address: f"http://{engine.address}:{_ADMIN}" for _, engine in roles}
    try:
        for component in made:
            component.start()
        for admin in (*sidecars.values(), f"http://{front}:{_ADMIN}"):
            _wait_ready(admin, made)
        yield Routers(f"http://{front}:{_HTTP}", sidecars, made)
    finally:
        stop_all(made)


def _name(role: Role, engine: RealEngine) -> str:
    return f"{role}-{engine.address.rpartition('.')[2]}"


def _router(name: str, address: str, *arguments: str, logs: Path) -> Component:
    words = (sys.executable, "-m", "pdscale.router", "--host", address, "--drain-timeout", "1s", *arguments)
    return Component(f"router-{name}", words, logs / f"router-{name}.log", stop_within=10)


def _wait_ready(admin: str, made: Sequence[Component]) -> None:
    def ready() -> bool:
        for component in made:
            component.check_alive()
        try:
            ask("GET", f"{admin}/readyz")
        except Unsuccessful:
            return False
        return True

    eventually(ready, within=30, what=f"the router at {admin} is ready")
