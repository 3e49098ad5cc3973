"""Builds a router from its settings, and ends it gently. No other module builds concrete objects."""

import asyncio
import logging
import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
from aiohttp import web

from pdscale.engines.answers import error_body
from pdscale.engines.dialects import dialect_of
from pdscale.engines.ledger import Ledger
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.binding import Bindings
from pdscale.placement.candidates import taking_work
from pdscale.placement.correction import Correction
from pdscale.placement.identity import PrefixSessions
from pdscale.placement.lengths import Lengths
from pdscale.placement.named import AsNamed
from pdscale.placement.policy import PlacementPolicy
from pdscale.placement.session_log import SessionLog
from pdscale.router.admin import admin_app
from pdscale.router.fleet.discovery import KubernetesDiscovery
from pdscale.router.fleet.loads import LoadPoller, Telling
from pdscale.router.fleet.own import OwnEngine
from pdscale.router.fleet.roster import Roster
from pdscale.router.fleet.whereabouts import Whereabouts
from pdscale.router.flows.capabilities import HistoryMoves
from pdscale.router.flows.front import Front
from pdscale.router.flows.gate import Gate
from pdscale.router.flows.prefiller_header import PrefillerHeader
from pdscale.router.flows.sidecar import Decider
from pdscale.router.flows.tools import Tools
from pdscale.router.flows.turnstile import Turnstile
from pdscale.router.guard import Guard, read_token
from pdscale.router.hop.inbound import RECOGNISED
from pdscale.router.hop.legs import Legs
from pdscale.router.meters import Meters, Place
from pdscale.router.policies import admission_of, placement_policy
from pdscale.router.ports import LOOPBACK, also_on_loopback, serve_admin
from pdscale.router.settings import Settings
from pdscale.router.surface import Surface
from pdscale.router.traffic import Traffic
from pdscale.router.wire.links import Links
from pdscale.router.wire.request import Limits
from pdscale.router.wire.server import Server

log = logging.getLogger(__name__)
_SOME_SECONDS: Final[Seconds] = 1e-4  # a token, where no profile says better: only the order depends on it


class Router:
    """One running router. ``port`` and ``admin_port`` are the real ones once it has started."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        self._admin: web.AppRunner | None = None
        self._log: SessionLog | None = None
        self._whereabouts: Whereabouts | None = None
        self.port = self.admin_port = 0

    async def start(self) -> None:
        settings, clock = self._settings, asyncio.get_running_loop().time
        self._clock, self._client = clock, aiohttp.ClientSession()
        self._legs = Legs(Links())
        self.roster, self._meters, self._traffic = Roster(), Meters(), Traffic(clock)
        own = self._own = OwnEngine(settings.engine_url) if settings.place is Place.SIDECAR else None
        load = None if own is None else lambda: own.load(clock())
        self._meters.watch(
            "discovery_age_seconds", "Time since the API server last spoke.", self._discovery_age
        )
        surface = self._front(clock) if own is None else self._sidecar(own, clock)
        self._server = Server(
            surface.handle,
            guard=Guard(None if settings.token_file is None else read_token(settings.token_file)),
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
        if self._admin is not None:
            await self._admin.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._legs.close()
        await self._client.close()

    def _front(self, clock: Callable[[], Seconds]) -> Surface:
        bindings = Bindings()
        self._meters.sessions(lambda: len(bindings))
        self._whereabouts = Whereabouts(self._client, self.roster, bindings)
        front = Front(self._legs, self.roster, bindings, Lengths(), self._meters, self._settings.slo, clock)
        # Names of two processes must never meet.
        chats = PrefixSessions(f"{RECOGNISED}{secrets.token_hex(6)}-")
        return Surface(Place.FRONT, front, None, self._meters, self._traffic, clock, chats=chats)

    def _sidecar(self, own: OwnEngine, clock: Callable[[], Seconds]) -> Surface:
        settings, correction = self._settings, Correction()
        self._log = SessionLog()
        tools = Tools(
            legs=self._legs,
            roster=self.roster,
            history=self._learning(),
            own=own,
            prefiller=PrefillerHeader(self.roster, self._meters, clock, settings.honour_prefiller_header),
            prefill_timeout=settings.prefill_timeout,
            clock=clock,
        )
        decider = Decider(
            me=settings.pod_name,
            tools=tools,
            policy=AsNamed(policy_of(settings, correction)),
            correction=correction,
            log=self._log,
            ledger=Ledger(lease=settings.kv_lease),
            lengths=Lengths(),
            meters=self._meters,
            rng=random.Random(),
            wall=time.time,
        )
        telling = Telling(lambda: own.load(clock()), clock)
        gate = _gate(tools, settings)
        return Surface(Place.SIDECAR, decider, gate, self._meters, self._traffic, clock, extra=telling)

    def _learning(self) -> HistoryMoves:
        settings = self._settings
        history = HistoryMoves(
            dialect_of(
                settings.engine_type,
                bidirectional=settings.bidirectional,
                bootstrap_port=settings.bootstrap_port,
            )
        )
        self._meters.registry.register(history)
        return history

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


def _gate(tools: Tools, settings: Settings) -> Gate:
    profile = settings.profile
    admission = admission_of(settings.queue_order, admit=settings.admit, reject_late=settings.reject_late)
    if profile is not None and not tools.dialect.both_at_once:  # else it would be a guess, or of nothing
        tools.own.admission = admission
    return Gate(
        tools,
        ttft=settings.slo.ttft,
        seconds_of=_SOME_SECONDS.__mul__ if profile is None else profile.prefill_seconds,
        turnstile=None if tools.dialect.both_at_once else Turnstile(admission, tools.clock),
    )


def policy_of(settings: Settings, correction: Correction) -> PlacementPolicy:
    return placement_policy(
        settings.placement,
        slo=settings.slo,
        profile=settings.profile,
        threshold_tokens=settings.threshold_tokens,
        table=settings.placement_table,
        correction=correction,
    )
