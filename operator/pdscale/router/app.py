"""Builds a router from its settings, runs it, and ends it gently. No other module builds concrete objects."""

import asyncio
import logging
import math
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from pdscale.engines.dialects import dialect_of
from pdscale.engines.ledger import Ledger
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.binding import Bindings
from pdscale.placement.candidates import taking_work
from pdscale.placement.lengths import Lengths
from pdscale.placement.policy import PlacementPolicy
from pdscale.router.discovery import KubernetesDiscovery
from pdscale.router.front import Front
from pdscale.router.legs import Legs, new_client
from pdscale.router.loads import LoadPoller
from pdscale.router.meters import Meters, Place
from pdscale.router.own import OwnEngine
from pdscale.router.policies import placement_policy
from pdscale.router.proxy import Tools
from pdscale.router.roster import Roster
from pdscale.router.settings import Settings, parse_settings
from pdscale.router.sidecar import Decider, Gate
from pdscale.router.surface import Surface, Traffic, admin_app

log = logging.getLogger(__name__)


class Router:
    """One running router. ``port`` and ``admin_port`` are the real ones once it has started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        self._runners: list[web.AppRunner] = []
        self.port = self.admin_port = 0

    async def start(self) -> None:
        settings, clock = self._settings, asyncio.get_running_loop().time
        self._clock, self._client = clock, new_client()
        self.roster, self._meters, self._traffic = Roster(), Meters(), Traffic(clock)
        self._own = OwnEngine(settings.engine_url) if settings.place is Place.SIDECAR else None
        own = self._own
        load = None if own is None else lambda: own.load(clock())
        self._surface = self._build(clock, load)
        self._meters.watch(
            "discovery_age_seconds", "Time since the API server last spoke.", self._discovery_age
        )
        self._follow()
        admin = admin_app(ready=self.not_ready_because, drained=self._drained, meters=self._meters, load=load)
        self.admin_port = await self._listen(admin, settings.admin_port)
        self.port = await self._listen(self._surface.app(), settings.port)

    async def not_ready_because(self) -> str:
        """Empty when ready."""
        if self._traffic.draining:
            return "draining"
        if self.roster.synced_at is None:
            return "the peers are not known yet"
        if self._own is not None:
            return "" if await self._own.healthy(self._client) else "the engine is not healthy"
        found = taking_work(self.roster.view(self._clock()), Role.DECODE)
        return "" if found else "no decode replica is ready"

    async def drain(self) -> None:
        """Not ready from now on; returns when what is open has ended, or time is up."""
        self._traffic.draining = True
        if not await self._drained():
            log.warning("%d requests are cut off by the drain timeout", self._traffic.open)

    async def _drained(self) -> bool:
        return await self._traffic.drained(
            quiet=self._settings.drain_quiet, within=self._settings.drain_timeout
        )

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    def _build(self, clock: Callable[[], Seconds], load: Callable[[], object] | None) -> Surface:
        settings, legs = self._settings, Legs(self._client)
        if self._own is None:
            bindings = Bindings()
            self._meters.sessions(lambda: len(bindings))
            front = Front(legs, self.roster, bindings, Lengths(), self._meters, settings.slo, clock)
            return Surface(Place.FRONT, front, None, self._meters, self._traffic, None, clock)
        own = self._own
        tools = Tools(
            legs=legs,
            roster=self.roster,
            dialect=dialect_of(settings.engine_type, bidirectional=settings.bidirectional),
            own=own,
            prefill_timeout=settings.prefill_timeout,
            clock=clock,
        )
        decider = Decider(
            me=settings.pod_name,
            tools=tools,
            policy=policy_of(settings),
            ledger=Ledger(lease=settings.kv_lease),
            lengths=Lengths(),
            meters=self._meters,
            rng=random.Random(),
            wall=time.time,
        )
        return Surface(
            Place.SIDECAR,
            decider,
            Gate(tools),
            self._meters,
            self._traffic,
            lambda: own.load(clock()),
            clock,
        )

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
        asked = Role.DECODE if self._own is None else Role.PREFILL
        self._run(LoadPoller(self._client, roster, asked).run())
        if self._own is not None:
            self._run(self._own.follow(self._client))

    def _run(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _listen(self, app: web.Application, port: int) -> int:
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, self._settings.host, port, backlog=1024)
        await site.start()
        bound = int(runner.addresses[0][1])
        await self._listen_on_loopback(runner, bound)
        return bound

    async def _listen_on_loopback(self, runner: web.AppRunner, port: int) -> None:
        """For `kubectl port-forward`, which dials a pod's loopback; not every pod has one of its own."""
        if self._settings.api is None or self._settings.host in ("127.0.0.1", "0.0.0.0", "::"):
            return
        try:
            await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        except OSError as error:
            log.info("not on 127.0.0.1:%d as well: %s", port, error.strerror)

    def _discovery_age(self) -> float:
        """NaN before the first word, and always 0 for peers that were named by hand."""
        if self._settings.api is None:
            return 0.0
        seen = self.roster.synced_at
        return math.nan if seen is None else self._clock() - seen


def policy_of(settings: Settings) -> PlacementPolicy:
    return placement_policy(
        settings.placement,
        slo=settings.slo,
        profile=settings.profile,
        threshold_tokens=settings.threshold_tokens,
        table=settings.placement_table,
    )


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain."""
    router, told = Router(settings), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        await router.start()
        log.info("%s listens on %s:%d", settings.place, settings.host, router.port)
        await told.wait()
        await router.drain()
    finally:
        await router.stop()


def main(argv: Sequence[str]) -> int:
    settings = parse_settings(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(settings))
    else:
        uvloop.run(serve(settings))
    return 0
