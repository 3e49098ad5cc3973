"""Connections to peers, kept alive for a while. No limit, no queue: KV that waits for a leg is on a lease."""

import asyncio
import ssl
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from pdscale.router.wire.errors import NotReached
from pdscale.router.wire.link import Link

# Engines drop idle connections after 5 s (uvicorn); one dropped while we write looks like a crash.
IDLE: Final = 3.0
CONNECT: Final = 1.0
SILENCE: Final = 600  # seconds between two reads: longer than any queue worth waiting in
_FORGET: Final = 60.0


class Destination:
    """One peer: how to reach it, and the idle connections to it, the freshest last."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"a peer's URL must be http://HOST[:PORT], got {url!r}")
        self.host = parts.hostname
        self.tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)
        self.prefix = parts.path.rstrip("/").encode()
        self.host_line = b" HTTP/1.1\r\nhost: %b\r\n" % parts.netloc.rpartition("@")[2].encode("idna")
        self.idle: list[Link] = []
        self.links: set[Link] = set()
        self.used_at = 0.0
        self._clock = asyncio.get_running_loop().time

    def keep(self, link: Link) -> None:
        link.idle_since = self._clock()
        self.idle.append(link)

    def lost(self, link: Link) -> None:
        self.links.discard(link)
        with suppress(ValueError):
            self.idle.remove(link)


class Links:
    """All destinations of one process. Once a second idle and silent connections are seen to."""

    def __init__(self, *, idle: float = IDLE, connect: float = CONNECT, silence: int = SILENCE) -> None:
        self._idle, self._connect, self._silence = idle, connect, silence
        self._loop = asyncio.get_running_loop()
        self._destinations: dict[str, Destination] = {}
        self._tls: ssl.SSLContext | None = None
        self._timer = self._loop.call_later(1.0, self._tick)

    def to(self, url: str) -> Destination:
        found = self._destinations.get(url)
        if found is None:
            found = self._destinations[url] = Destination(url)
            found.used_at = self._loop.time()
        return found

    def take(self, destination: Destination) -> Link | None:
        """The connection that was used last, unless it may be about to be dropped by the peer."""
        idle = destination.idle
        while idle:
            link = idle.pop()
            if not link.closed:
                if self._loop.time() - link.idle_since < self._idle:
                    return link
                link.abort()
        return None

    def connect(self, destination: Destination) -> "asyncio.Task[Link]":
        """In a task of its own, since whoever asks may not be in one."""
        return self._loop.create_task(self._connected(destination))

    async def _connected(self, destination: Destination) -> Link:
        try:
            async with asyncio.timeout(self._connect):
                _, link = await self._loop.create_connection(
                    lambda: Link(destination),
                    destination.host,
                    destination.port,
                    ssl=self._context() if destination.tls else None,
                )
        except (OSError, TimeoutError) as error:
            raise NotReached(f"{destination.host}:{destination.port}: {error!r}") from error
        link.idle_since = destination.used_at = self._loop.time()
        destination.links.add(link)
        return link

    def close(self) -> None:
        self._timer.cancel()
        for destination in self._destinations.values():
            for link in tuple(destination.links):
                link.abort()

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _tick(self) -> None:
        self._timer = self._loop.call_later(1.0, self._tick)
        now = self._loop.time()
        for url, destination in tuple(self._destinations.items()):
            for link in tuple(destination.links):
                link.tick(self._silence)
                if not link.busy and not link.closed and now - link.idle_since >= self._idle:
                    link.abort()
            if not destination.links and now - destination.used_at > _FORGET:
                del self._destinations[url]
