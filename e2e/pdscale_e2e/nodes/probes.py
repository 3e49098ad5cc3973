"""Startup, readiness and liveness of one container, with the kubelet's counting.

A container that is not ready yet is asked at least once a second whatever its period, which
Kubernetes allows ("may be executed at times other than the configured period") and which spares tests
the wait.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from pdscale_e2e.nodes.client import Json
from pdscale_e2e.nodes.handlers import Target, perform


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe's figures with the API's defaults, in seconds."""

    handler: Json
    initial_delay: float
    period: float
    timeout: float
    successes: int
    failures: int
    grace: float | None

    @classmethod
    def parse(cls, entry: Json | None) -> "Probe | None":
        if entry is None:
            return None
        return cls(
            handler=entry,
            initial_delay=entry.get("initialDelaySeconds") or 0,
            period=entry.get("periodSeconds") or 10,
            timeout=entry.get("timeoutSeconds") or 1,
            successes=entry.get("successThreshold") or 1,
            failures=entry.get("failureThreshold") or 3,
            grace=entry.get("terminationGracePeriodSeconds"),
        )


class Unhealthy(Exception):
    """A startup or liveness probe failed too often: the container has to go."""


async def await_startup(probe: Probe | None, target: Target) -> None:
    """Returns once the container has started."""
    if probe is None:
        return
    await asyncio.sleep(probe.initial_delay)
    failed = 0
    while (why := await perform(probe.handler, target, probe.timeout)) is not None:
        failed += 1
        if failed >= probe.failures:
            raise Unhealthy(f"startup probe failed {failed} times: {why}")
        await asyncio.sleep(probe.period)


async def watch_liveness(probe: Probe | None, target: Target) -> None:
    """Returns never; raises ``Unhealthy``."""
    if probe is None:
        await asyncio.Event().wait()
        return
    await asyncio.sleep(probe.initial_delay)
    failed = 0
    while True:
        why = await perform(probe.handler, target, probe.timeout)
        failed = failed + 1 if why is not None else 0
        if failed >= probe.failures:
            raise Unhealthy(f"liveness probe failed {failed} times: {why}")
        await asyncio.sleep(probe.period)


async def watch_readiness(probe: Probe | None, target: Target, say: Callable[[bool], None]) -> None:
    """Returns never; ``say`` hears every verdict that changes."""
    if probe is None:
        say(True)
        await asyncio.Event().wait()
        return
    await asyncio.sleep(probe.initial_delay)
    ready, row = False, 0
    while True:
        good = await perform(probe.handler, target, probe.timeout) is None
        row = row + 1 if good is not ready else 0
        if row >= (probe.failures if ready else probe.successes):
            ready, row = good, 0
            say(ready)
        await asyncio.sleep(probe.period if ready else min(probe.period, 1.0))
