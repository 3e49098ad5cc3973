"""Whether anything of an object's workloads has changed: watches that only count.

What stands still need not be listed again. Kept are no objects but a number for each of their owners, which
grows with every event: as long as it is the same, a list from then is as good as one from now. A watch that
breaks makes all former numbers void, and while one is not there nobody has a number.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from pdscale.kube.client import Kube, Object, collection
from pdscale.kube.errors import KubeError
from pdscale.kube.pools import DEPLOYMENT_LABEL
from pdscale.model.units import Seconds

KINDS: Final = (("apps/v1", "deployments"), ("v1", "pods"))
SILENCE: Final[Seconds] = 150.0  # an API server sends a bookmark every minute
MOST_NAMESPACES: Final = 8  # each needs a connection for each kind
_AGAIN: Final[Seconds] = 5.0

Mark = tuple[int, int]
_log = logging.getLogger("pdscale.changes")


@dataclass(slots=True)
class Changes:
    """Watches of ``namespaces``, or of all if there is none."""

    kube: Kube
    namespaces: Collection[str] = ()
    again: Seconds = _AGAIN
    _broken: int = 0
    _watching: int = 0
    _events: Counter[tuple[str, str]] = field(default_factory=Counter)

    def mark(self, namespace: str, name: str) -> Mark | None:
        """Equal marks: nothing of the object ``name`` has been heard of in between. None: nobody listens."""
        if self._watching < len(KINDS) * max(1, len(self.namespaces)):
            return None
        return self._broken, self._events[namespace, name]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Watch until the block ends."""
        if len(self.namespaces) > MOST_NAMESPACES:
            yield
            return
        paths = [collection(v, p, ns) for v, p in KINDS for ns in self.namespaces or ("",)]
        tasks = [asyncio.create_task(self._follow(path)) for path in paths]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, path: str) -> None:
        while True:
            try:
                await self._watch(path)
            except KubeError as error:
                _log.info("%s is watched again in %gs: %s", path, self.again, error)
            await asyncio.sleep(self.again)

    async def _watch(self, path: str) -> None:
        """From a version on, as long as no event is missed."""
        since, there = await self.kube.version(path, selector=DEPLOYMENT_LABEL), False
        try:
            while True:
                heard = False
                async with self.kube.watching(
                    path, selector=DEPLOYMENT_LABEL, since=since, silence=SILENCE
                ) as events:
                    self._watching += not there
                    there = True
                    async for event in events:
                        if event["type"] == "ERROR":
                            return
                        heard, since = True, self._hear(event)
                if not heard:
                    return  # nothing says that nothing was missed
        finally:
            self._watching -= there
            self._broken += 1
            self._events.clear()

    def _hear(self, event: Object) -> str:
        meta = event["object"]["metadata"]
        if event["type"] != "BOOKMARK":
            self._events[meta["namespace"], (meta.get("labels") or {}).get(DEPLOYMENT_LABEL, "")] += 1
        return str(meta["resourceVersion"])
