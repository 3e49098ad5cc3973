"""kopf's part: it watches the objects and keeps one daemon for each. Everything else is in the loop.

No create, update or delete handlers: they would keep the whole spec in an annotation and miss what happens
while nobody runs. Deletion needs no work, because the children go by their owner references; the
finalizer, which kopf puts on every object that has a daemon, is taken off as soon as the daemon has ended.

A daemon sleeps from tick to tick. What the watch brings rings its bell: to look at each object every second
would be fifteen wake-ups for each tick.
"""

import asyncio
from collections.abc import Callable, Collection
from itertools import repeat
from typing import Any, Final, Protocol

import kopf

from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION
from pdscale.controller.say import Say
from pdscale.controller.snapshot import Snapshot
from pdscale.model.units import Seconds

FINALIZER: Final = f"{GROUP}/operator"
WATCH: Final[Seconds] = 60.0  # after which the server ends a watch, and it is asked for again
SILENCE: Final[Seconds] = WATCH + 15.0  # of a watch that the server should have ended by now
PAGE: Final = 50  # objects of a list that are in memory as they came
ASK_AGAIN: Final[Seconds] = 3.0


class Ticking(Protocol):
    """The control loop, as far as a daemon sees it."""

    async def tick(self, seen: Snapshot) -> Seconds: ...

    def forget(self, seen: Snapshot) -> None: ...


def register(registry: kopf.OperatorRegistry, loop: Ticking) -> None:
    bells: dict[str, asyncio.Event] = {}  # of all daemons, by the uid of their object

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def noticed(uid: str, event: kopf.RawEvent, **_: Any) -> None:
        # Half of an object, which nobody reads, and kopf keeps the whole of each as it came.
        event["object"].get("metadata", {}).pop("managedFields", None)  # type: ignore[typeddict-item]
        if uid in bells:
            bells[uid].set()

    @kopf.daemon(
        GROUP,
        VERSION,
        PLURAL,
        registry=registry,
        backoff=15.0,
        cancellation_backoff=5.0,
        cancellation_timeout=5.0,
    )
    async def reconcile(stopped: kopf.DaemonStopped, body: kopf.Body, **_: Any) -> None:
        seen = Snapshot.of(body)
        bell = bells[seen.uid] = asyncio.Event()
        try:
            while not stopped:
                seen = Snapshot.of(body)
                next_in = await loop.tick(seen)
                await pause(stopped, next_in, bell, until=lambda: _differs(body, seen))  # noqa: B023
        finally:
            bells.pop(seen.uid, None)
            if stopped:
                loop.forget(seen)


async def pause(
    stopped: kopf.DaemonStopped, seconds: Seconds, bell: asyncio.Event, *, until: Callable[[], bool]
) -> None:
    """Wait, but no longer than to the end of the daemon, or to a ring after which ``until`` holds."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    bell.clear()
    while not stopped and not until() and (left := end - clock()) > 0:
        either = [asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(bell.wait())]
        try:
            await asyncio.wait(either, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in either:
                waiting.cancel()
        bell.clear()


def configure(settings: kopf.OperatorSettings) -> None:
    """Own prefixes, nothing stored in annotations, and no watch that can fall silent unnoticed."""
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.posting.enabled = False
    # The CRD must be there at the start (the process ends otherwise), and the namespaces are named:
    # so nobody has to let us list all namespaces and CRDs of a cluster.
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.watching.server_timeout = int(WATCH)  # API servers refuse fractions
    settings.watching.inactivity_timeout = SILENCE
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = PAGE
    settings.networking.request_timeout = 30
    # Without end: what runs out of attempts is not asked again, be it a watch or the removal of a finalizer.
    settings.networking.error_backoffs = repeat(ASK_AGAIN)


def scope(namespaces: Collection[str]) -> dict[str, Any]:
    """Arguments of ``kopf.operator`` for these namespaces, or for the whole cluster."""
    return {"namespaces": list(namespaces)} if namespaces else {"clusterwide": True}


def _differs(body: kopf.Body, seen: Snapshot) -> bool:
    """Whether somebody has edited the spec or said something by an annotation."""
    return int(body["metadata"]["generation"]) > seen.generation or Say.of(body) != Say.of(seen.body)
