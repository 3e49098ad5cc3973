"""Load figures as they travel between routers, and the loop that asks those who have been silent."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import aiohttp
import orjson

from pdscale.model.cluster import Load
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.router.fleet.peers import Peer
from pdscale.router.fleet.roster import Roster

LOAD_HEADER: Final = b"x-pdscale-load"
_FRESH: Final[Seconds] = 0.02  # what was told within it is told again: a reader could not tell
SILENCE: Final[Seconds] = 1.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=1.0)
_PATIENCE: Final[Seconds] = 0.02  # of a round that waits for loads; by then last words do as well


def load_figures(load: Load) -> dict[str, float]:
    """What is told to others; means over an empty window are left out, not zero."""
    told: dict[str, float | None] = {
        "running": load.running,
        "waiting": load.waiting,
        "queued_tokens": round(load.queued_tokens),
        "resident_tokens": round(load.resident_tokens),
        "kv": round(load.kv_usage, 4),
        "ttft": load.ttft,
        "itl": load.itl,
        "backlog": load.backlog,
    }
    return {name: figure for name, figure in told.items() if figure is not None}


def format_load(load: Load) -> str:
    return ";".join(f"{name}={figure:.6g}" for name, figure in load_figures(load).items())


def parse_load_header(text: str, *, now: Seconds) -> Load | None:
    """The load in a response header; ``None`` if any of it cannot be read."""
    pairs = (part.partition("=") for part in text.split(";") if part)
    return read_load({name.strip(): value for name, _, value in pairs}, now=now)


def read_load(figures: Mapping[str, Any], *, now: Seconds) -> Load | None:
    try:
        read = {name: float(figures[name]) for name in ("running", "waiting", "kv")}
        more = {
            name: float(figures[name])
            for name in ("queued_tokens", "resident_tokens", "ttft", "itl", "backlog")
            if name in figures
        }
    except (KeyError, TypeError, ValueError):
        return None
    if not all(math.isfinite(v) and v >= 0 for v in (*read.values(), *more.values())):
        return None
    return Load(
        running=int(read["running"]),
        waiting=int(read["waiting"]),
        queued_tokens=more.get("queued_tokens", 0.0),
        resident_tokens=more.get("resident_tokens", 0.0),
        kv_usage=min(1.0, read["kv"]),
        ttft=more.get("ttft"),
        itl=more.get("itl"),
        seen_at=now,
        backlog=more.get("backlog"),
    )


class Telling:
    """A load as a header line for answers, which may follow one another faster than it is worth forming."""

    def __init__(self, load: Callable[[], Load], clock: Callable[[], Seconds]) -> None:
        self._load, self._clock = load, clock
        self._until, self._line = -1.0, b""

    def __call__(self) -> bytes:
        now = self._clock()
        if now >= self._until:
            self._until = now + _FRESH
            self._line = b"%b: %b\r\n" % (LOAD_HEADER, format_load(self._load()).encode())
        return self._line


def hear(roster: Roster, name: str, told: bytes, *, now: Seconds) -> None:
    """Note what a peer said of itself in an answer, unless it did a moment ago."""
    last = roster.heard_at(name)
    if last is not None and now - last < _FRESH:
        return
    load = _read_once(told)
    if load is not None:
        roster.heard(name, replace(load, seen_at=now))


@lru_cache(maxsize=256)
def _read_once(told: bytes) -> Load | None:
    return parse_load_header(told.decode("latin-1"), now=0.0)


class LoadPoller:
    """Asks peers of one role that have told nothing for a second, or that seemed unreachable; others when a
    round wants to know."""

    def __init__(self, client: aiohttp.ClientSession, roster: Roster, role: Role) -> None:
        self._client, self._roster, self._role = client, roster, role
        self._open: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            silent = self._roster.not_heard_of(self._role, since=clock() - SILENCE)
            await asyncio.gather(*(self._ask(peer) for peer in silent))
            await asyncio.sleep(SILENCE / 2)

    async def renew(self, names: Iterable[str]) -> None:
        """Ask these now. Rounds of the same moment share an answer, and none waits for one that is slow."""
        peers = [peer for name in names if (peer := self._roster.peer(name)) is not None]
        if peers:
            await asyncio.wait([self._asked(peer) for peer in peers], timeout=_PATIENCE)

    def _asked(self, peer: Peer) -> asyncio.Task[None]:
        name = peer.endpoint.name
        found = self._open.get(name)
        if found is None:
            found = self._open[name] = asyncio.ensure_future(self._ask(peer))
            found.add_done_callback(lambda _: self._open.pop(name, None))
        return found

    async def _ask(self, peer: Peer) -> None:
        asked_at = asyncio.get_running_loop().time()  # what is sent there meanwhile may not be in the answer
        try:
            async with self._client.get(f"{peer.admin_url}/load", timeout=_TIMEOUT) as answer:
                figures = orjson.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return  # it stays silent; whether it is reachable shows at the next request
        if isinstance(figures, dict):
            load = read_load(figures, now=asked_at)
            if load is not None:
                self._roster.heard(peer.endpoint.name, load)
