"""One router from its start to its gentle end. ``assembly`` builds what it serves."""

import asyncio
import logging
import math
from collections.abc import Awaitable

import aiohttp
from aiohttp import web

from pdscale.engines.answers import error_body
from pdscale.model.pools import Role
from pdscale.placement.candidates import taking_work
from pdscale.placement.session_log import SessionLog
from pdscale.router.admin import admin_app
from pdscale.router.assembly import Common, EndpointPicker, front_of, picker_of, sidecar_of
from pdscale.router.fleet.discovery import KubernetesDiscovery
from pdscale.router.fleet.loads import LoadPoller
from pdscale.router.fleet.own import OwnEngine
from pdscale.router.fleet.roster import Roster
from pdscale.router.fleet.whereabouts import Whereabouts
from pdscale.router.guard import Guard, read_token
from pdscale.router.hop.legs import Legs
from pdscale.router.meters import Meters, Place
from pdscale.router.ports import LOOPBACK, also_on_loopback, serve_admin
from pdscale.router.settings import Settings
from pdscale.router.surface import Surface
from pdscale.router.traffic import Traffic
from pdscale.router.wire.links import Links
from pdscale.router.wire.request import Limits
from pdscale.router.wire.server import Server

log = logging.getLogger(__name__)


class Router:
    """One running router. Its ports are the real ones once it has started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        self._admin: web.AppRunner | None = None
        self._log: SessionLog | None = None
        self._whereabouts: Whereabouts | None = None
        self._picker: EndpointPicker | None = None
        self.port = self.admin_port = 0

    @property
    def picker_port(self) -> int:
        """0 where there is no endpoint picker."""
        return 0 if self._picker is None else self._picker.port

    async def start(self) -> None:
        settings, clock = self._settings, asyncio.get_running_loop().time
        self._clock, self._client = clock, aiohttp.ClientSession()
        self._legs = Legs(Links())
        self.roster, self._meters, self._traffic = Roster(), Meters(), Traffic(clock)
        own = self._own = OwnEngine(settings.engine_url) if settings.place is Place.SIDECAR else None
        self._poller = LoadPoller(self._client, self.roster, Role.DECODE if own is None else Role.PREFILL)
        load = None if own is None else lambda: own.load(clock())
        self._meters.watch(
            "discovery_age_seconds", "Time since the API server last spoke.", self._discovery_age
        )
        guard = Guard(None if settings.token_file is None else read_token(settings.token_file))
        common = Common(
            settings, self._client, clock, self._legs, self.roster, self._meters, self._traffic, guard
        )
        surface = self._front(common) if own is None else self._sidecar(common, own)
        self._server = Server(
            surface.handle,
            guard=guard,
            error_body=lambda status, message: error_body(message, kind="BadRequest", status=status),
            limits=Limits(body=settings.max_body),
        )
        self._follow()
        log_of = self._log
        admin = admin_app(
            ready=self.not_ready_because,
            drained=self._drained,
            meters=self._meters,
            load=load,
            served=None if log_of is None else lambda mark: log_of.since(mark, clock()),
        )
        self._admin, self.admin_port = await serve_admin(admin, settings)
        if self._picker is not None:
            await self._picker.listen(settings.host, settings.endpoint_picker_port or 0)
        self.port = await self._listen(settings.port)

    async def not_ready_because(self) -> str:
        """Empty when ready."""
        if self._traffic.draining:
            return "draining"
        if self.roster.synced_at is None:
            return "the peers are not known yet"
        if self._own is not None:
            return "" if await self._own.healthy(self._client) else "the engine is not healthy"
        if not self.knows_sessions:
            return "where sessions live is not known yet"
        found = taking_work(self.roster.view(self._clock()), Role.DECODE)
        return "" if found else "no decode replica is ready"

    @property
    def knows_sessions(self) -> bool:
        """False for a front that has not yet heard from the decode replicas which sessions are theirs."""
        return self._whereabouts is None or self._whereabouts.known

    async def drain(self) -> None:
        """Not ready from now on; returns when what is open has ended, or time is up."""
        self._traffic.draining = self._server.draining = True
        if not await self._drained():
            log.warning("%d requests are cut off by the drain timeout", self._traffic.open)

    async def _drained(self) -> bool:
        return await self._traffic.drained(
            quiet=self._settings.drain_quiet, within=self._settings.drain_timeout
        )

    async def stop(self) -> None:
        await self._server.close()
        if self._picker is not None:
            await self._picker.stop()
        if self._admin is not None:
            await self._admin.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._legs.close()
        await self._client.close()

    def _front(self, common: Common) -> Surface:
        front = front_of(common)
        self._whereabouts = front.whereabouts
        if self._settings.endpoint_picker_port is not None:
            self._picker = picker_of(common, front, self.not_ready_because)
        return front.surface

    def _sidecar(self, common: Common, own: OwnEngine) -> Surface:
        self._log = SessionLog()
        return sidecar_of(common, own, self._poller, self._log)

    def _follow(self) -> None:
        """Start what runs beside the traffic."""
        settings, roster = self._settings, self.roster
        if settings.api is None:
            roster.replace_all(settings.static, now=self._clock())
        else:
            discovery = KubernetesDiscovery(
                self._client,
                settings.api,
                roster,
                namespace=settings.namespace,
                deployment=settings.deployment,
            )
            self._run(discovery.run())
        self._run(self._poller.run())
        if self._own is not None:
            self._run(self._own.follow(self._client))
        if self._whereabouts is not None:
            self._run(self._whereabouts.run())

    def _run(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _listen(self, port: int) -> int:
        settings, tls = self._settings, self._settings.tls()

        def listen(host: str, port: int) -> Awaitable[int]:
            return self._server.listen(host, port, tls=tls, reuse_port=bool(settings.admin_socket))

        bound = await listen(settings.host, port)
        await also_on_loopback(settings, bound, lambda: listen(LOOPBACK, bound))
        return bound

    def _discovery_age(self) -> float:
        """NaN before the first word, and always 0 for peers that were named by hand."""
        if self._settings.api is None:
            return 0.0
        seen = self.roster.synced_at
        return math.nan if seen is None else self._clock() - seen
