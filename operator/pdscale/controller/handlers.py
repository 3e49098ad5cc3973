"""kopf's part: it watches the objects and keeps one daemon for each. Everything else is in the loop.

No create, update or delete handlers: they would keep the whole spec in an annotation and miss what happens
while nobody runs. Deletion needs no work, because the children go by their owner references; the
finalizer, which kopf puts on every object that has a daemon, is taken off as soon as the daemon has ended.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final, Protocol

import kopf

from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION
from pdscale.controller.say import Say
from pdscale.controller.snapshot import Snapshot
from pdscale.model.units import Seconds

FINALIZER: Final = f"{GROUP}/operator"
LOOK: Final[Seconds] = 1.0  # how soon an edited spec or annotation is noticed


class Ticking(Protocol):
    """The control loop, as far as a daemon sees it."""

    async def tick(self, seen: Snapshot) -> Seconds: ...

    def forget(self, seen: Snapshot) -> None: ...


def register(registry: kopf.OperatorRegistry, loop: Ticking) -> None:
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
        try:
            while not stopped:
                seen = Snapshot.of(body)
                next_in = await loop.tick(seen)
                await pause(stopped, next_in, until=lambda: _differs(body, seen))  # noqa: B023
        finally:
            if stopped:
                loop.forget(seen)


async def pause(stopped: kopf.DaemonStopped, seconds: Seconds, *, until: Callable[[], bool]) -> None:
    """Wait, but no longer than to the end of the daemon or until something happens."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while not stopped and not until() and clock() < end:
        await stopped.wait(min(LOOK, max(0.0, end - clock())))


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
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30


def scope(namespaces: Collection[str]) -> dict[str, Any]:
    """Arguments of ``kopf.operator`` for these namespaces, or for the whole cluster."""
    return {"namespaces": list(namespaces)} if namespaces else {"clusterwide": True}


def _differs(body: kopf.Body, seen: Snapshot) -> bool:
    """Whether somebody has edited the spec or said something by an annotation."""
    return int(body["metadata"]["generation"]) > seen.generation or Say.of(body) != Say.of(seen.body)
