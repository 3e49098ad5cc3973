"""Work that is done by one process at a time: taking the Lease, keeping it, giving it back.

When the Lease is lost the work is stopped and the process becomes a candidate again: an API server that was
away is no reason for a restart. Work that does not stop is one: whoever lost the Lease must not linger.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from pdscale.controller.election import LEASE, LOOK_EVERY, RENEW_EVERY, Sight, Tenure
from pdscale.kube.errors import Conflict, KubeError
from pdscale.kube.lease import Lease, LeaseStore
from pdscale.model.units import Seconds

ENDING: Final[Seconds] = 20.0  # kopf gives its daemons ten seconds

_log = logging.getLogger("pdscale.election")
Work = Callable[[asyncio.Event], Awaitable[None]]


class Lingering(Exception):
    """The work did not stop when the Lease was gone; the process has to end."""


def boot_clock() -> Seconds:
    """Seconds since the machine started, those in which it slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(slots=True)
class Leading:
    """One candidate. ``seconds`` is the lease that it takes, ``look`` and ``renew`` how often it asks."""

    store: LeaseStore
    tenure: Tenure
    seconds: int = LEASE
    look: Seconds = LOOK_EVERY
    renew: Seconds = RENEW_EVERY
    wall: Callable[[], Seconds] = time.time
    _sight: Sight = field(default_factory=Sight)
    _held: Lease | None = None
    _reported: str = ""

    async def lead(self, work: Work, *, stop: asyncio.Event) -> None:
        """Do the work whenever the Lease is ours, until ``stop`` is set or the work ends by itself."""
        try:
            while not stop.is_set():
                if await self._campaign(stop) and await self._term(work, stop):
                    return
        finally:
            await self._give_back()

    async def _campaign(self, stop: asyncio.Event) -> bool:
        """Wait for the Lease; False if ``stop`` came first."""
        while not stop.is_set():
            wait = await self._try()
            if wait <= 0:
                _log.info("leading as %s, term %d", self.tenure.identity, self.tenure.writer.term)
                return True
            await _set_within(stop, min(wait, self.look))
        return False

    async def _try(self) -> Seconds:
        """One look, and the Lease if it is free; seconds until that may be, zero when it is ours."""
        try:
            seen = await self.store.look()
            if seen is not None:
                self._tell(seen)
                wait = self._sight.free_in(seen, self.tenure.identity, self.tenure.clock())
                if wait > 0:
                    return wait
            await self._take(seen)
        except Conflict:
            return self.look  # another was quicker
        except KubeError as error:
            self._report(f"the Lease cannot be had: {error}", logging.WARNING)
            return self.look
        return 0.0

    async def _take(self, seen: Lease | None) -> None:
        sent, holder = self.tenure.clock(), self.tenure.identity
        if seen is None:
            self._held = await self.store.create(holder, seconds=self.seconds, wall=self.wall())
        else:
            self._held = await self.store.take(seen, holder, seconds=self.seconds, wall=self.wall())
        self.tenure.extend(self._held, sent=sent)
        self._reported = ""

    async def _term(self, work: Work, stop: asyncio.Event) -> bool:
        """One stretch of work; True if it ended by itself or was told to."""
        over = asyncio.Event()
        working = asyncio.ensure_future(work(over))
        keeping, stopped = asyncio.create_task(self._keep()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({working, keeping, stopped}, return_when=asyncio.FIRST_COMPLETED)
            lost = keeping.done() and not working.done() and not stop.is_set()
            over.set()
            done, _ = await asyncio.wait({working}, timeout=ENDING)
            if not done:
                working.cancel()
                raise Lingering(f"the operator did not stop within {ENDING:g}s of losing its Lease")
            working.result()
            return not lost
        finally:
            keeping.cancel()
            stopped.cancel()

    async def _keep(self) -> None:
        """Renew until that has failed for too long; then the tenure is over."""
        while True:
            await asyncio.sleep(max(0.0, min(self.renew, self.tenure.left())))
            left = self.tenure.left()
            if left <= 0:
                self.tenure.end()
                _log.warning("%s no longer leads: the Lease was not renewed in time", self.tenure.identity)
                return
            try:
                async with asyncio.timeout(left):
                    await self._renewed()
            except KubeError as error:
                self._report(f"the Lease was not renewed: {error}", logging.WARNING)
            except TimeoutError:
                pass  # the tenure ends, and that is said

    async def _renewed(self) -> None:
        if self._held is None:
            return
        try:
            await self._take(self._held)
        except Conflict:
            seen = await self.store.look()  # an answer of ours was lost, or somebody else took it
            if seen is None or seen.holder != self.tenure.identity:
                self.tenure.end()
                return
            self._held = seen

    async def _give_back(self) -> None:
        held, self._held = self._held, None
        if held is None or self.tenure.left() <= 0:
            return
        self.tenure.end()
        try:
            await asyncio.shield(self.store.give_back(held))
        except KubeError as error:
            _log.warning("the Lease was not given back, the next operator waits for its end: %s", error)

    def _tell(self, seen: Lease) -> None:
        if seen.holder != self.tenure.identity:
            self._report(f"waiting: {seen.holder or 'nobody'} leads")

    def _report(self, text: str, level: int = logging.INFO) -> None:
        """The same news once."""
        if text != self._reported:
            _log.log(level, "%s: %s", self.tenure.identity, text)
        self._reported = text


async def _set_within(event: asyncio.Event, seconds: Seconds) -> None:
    try:
        async with asyncio.timeout(
            seconds
        ):  # no task of its own: kopf, when it ends, cancels those that it finds
            await event.wait()
    except TimeoutError:
        pass
