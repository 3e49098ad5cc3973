"""How front routers learn where sessions live: they read the logs of the decode replicas' sidecars.

Twice a second each process asks every decode replica what it has served since the last answer. That is
the whole agreement between several front processes and replicas of a deployment: no store, no gossip.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
import orjson

from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.binding import Bindings
from pdscale.placement.session_log import Served
from pdscale.router.fleet.peers import Peer
from pdscale.router.fleet.roster import Roster

EVERY: Final[Seconds] = 0.5
_AT_FIRST: Final[Seconds] = 0.02  # until discovery has spoken: nobody is served before
_TIMEOUT: Final = aiohttp.ClientTimeout(total=2.0)
_LONGEST_NAME: Final = 256


def format_served(served: Served) -> bytes:
    ago = {name: round(seconds, 3) for name, seconds in served.ago.items()}
    return orjson.dumps({"mark": served.mark, "ago": ago})


def read_served(content: bytes) -> Served | None:
    """``None`` for what is no such answer; names and times that make no sense are left out."""
    try:
        told = orjson.loads(content)
        mark, ago = told["mark"], told["ago"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not isinstance(mark, str) or not isinstance(ago, dict):
        return None
    return Served(mark, {name: float(s) for name, s in ago.items() if _sound(name, s)})


def _sound(name: str, seconds: object) -> bool:
    return len(name) <= _LONGEST_NAME and isinstance(seconds, int | float) and 0 <= seconds < 1e9


class Whereabouts:
    """``known`` is set once every decode replica of the first look has been asked."""

    def __init__(self, client: aiohttp.ClientSession, roster: Roster, bindings: Bindings) -> None:
        self._client, self._roster, self._bindings = client, roster, bindings
        self._marks: dict[str, str] = {}
        self.known = False

    async def run(self) -> None:
        while True:
            if self._roster.synced_at is not None:
                await self.look()
                self.known = True
            await asyncio.sleep(EVERY if self.known else _AT_FIRST)

    async def look(self) -> None:
        peers = self._roster.peers(Role.DECODE)
        self._marks = {uid: mark for uid, mark in self._marks.items() if uid in {p.uid for p in peers}}
        await asyncio.gather(*(self._ask(peer) for peer in peers))

    async def _ask(self, peer: Peer) -> None:
        parameters: Mapping[str, str] = {"since": self._marks.get(peer.uid, "")}
        url = f"{peer.admin_url}/sessions"
        try:
            async with self._client.get(url, params=parameters, timeout=_TIMEOUT) as answer:
                served = read_served(await answer.read()) if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError):
            return  # whether it can be reached shows at the next request
        if served is not None:
            self._marks[peer.uid] = served.mark
            now = asyncio.get_running_loop().time()
            self._bindings.learn(peer.endpoint.name, served.ago, now=now)
