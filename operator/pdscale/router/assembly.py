"""Builds what a router serves: a front's parts, or a sidecar's. ``app`` starts and ends them."""

import math
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp

from pdscale.engines.dialects import dialect_of
from pdscale.engines.ledger import Ledger
from pdscale.model.units import Seconds, Tokens
from pdscale.placement.binding import Bindings
from pdscale.placement.correction import Correction
from pdscale.placement.identity import PrefixSessions
from pdscale.placement.lengths import Lengths
from pdscale.placement.named import AsNamed
from pdscale.placement.policy import PlacementPolicy
from pdscale.placement.session_log import SessionLog
from pdscale.router.fleet.loads import LoadPoller, Telling
from pdscale.router.fleet.own import OwnEngine
from pdscale.router.fleet.roster import Roster
from pdscale.router.fleet.whereabouts import Whereabouts
from pdscale.router.flows.capabilities import HistoryMoves
from pdscale.router.flows.front import Front
from pdscale.router.flows.gate import Gate
from pdscale.router.flows.judge import Judge
from pdscale.router.flows.prefiller_header import PrefillerHeader
from pdscale.router.flows.session_gaps import SessionGaps
from pdscale.router.flows.sidecar import Decider
from pdscale.router.flows.tools import Tools
from pdscale.router.flows.turnstile import Turnstile
from pdscale.router.guard import Guard
from pdscale.router.hop.inbound import RECOGNISED
from pdscale.router.hop.legs import Legs
from pdscale.router.meters import Meters, Place
from pdscale.router.policies import admission_of, placement_policy
from pdscale.router.settings import Settings
from pdscale.router.surface import Surface
from pdscale.router.traffic import Traffic

_SOME_SECONDS: Final[Seconds] = 1e-4  # a token, where no profile says better: only the order depends on it


@dataclass(frozen=True, slots=True)
class Common:
    """What both kinds of router have."""

    settings: Settings
    client: aiohttp.ClientSession
    clock: Callable[[], Seconds]
    legs: Legs
    roster: Roster
    meters: Meters
    traffic: Traffic
    guard: Guard


@dataclass(frozen=True, slots=True)
class FrontParts:
    """A front, and what its endpoint picker shares with it."""

    surface: Surface
    whereabouts: Whereabouts
    bindings: Bindings
    judge: Judge
    chats: PrefixSessions


class EndpointPicker(Protocol):
    """The picker's port, as whoever starts and ends it sees it: its libraries may not be here."""

    port: int

    async def listen(self, host: str, port: int) -> None: ...

    async def stop(self) -> None: ...


def front_of(common: Common) -> FrontParts:
    clock, meters = common.clock, common.meters
    bindings = Bindings()
    meters.sessions(lambda: len(bindings))
    judge = Judge(Lengths(), meters, common.settings.slo, clock)
    front = Front(common.legs, common.roster, bindings, meters, judge, clock)
    # Names of two processes must never meet.
    chats = PrefixSessions(f"{RECOGNISED}{secrets.token_hex(6)}-")
    surface = Surface(Place.FRONT, front, None, meters, common.traffic, clock, chats=chats)
    return FrontParts(surface, Whereabouts(common.client, common.roster, bindings), bindings, judge, chats)


def picker_of(common: Common, front: FrontParts, ready: Callable[[], Awaitable[str]]) -> EndpointPicker:
    """On the front's own objects, so that a session is one session on both ports."""
    from pdscale.router.picker.choice import Choice
    from pdscale.router.picker.desk import Desk
    from pdscale.router.picker.service import PickerService

    settings = common.settings
    desk = Desk(
        choice=Choice(common.roster, front.bindings, common.clock),
        chats=front.chats,
        judge=front.judge,
        meters=common.meters,
        traffic=common.traffic,
        guard=common.guard,
        largest_body=settings.max_body,
        clock=common.clock,
    )
    return PickerService(
        desk, ready, certificate=settings.certificate, share_port=bool(settings.admin_socket)
    )


def sidecar_of(common: Common, own: OwnEngine, poller: LoadPoller, log: SessionLog) -> Surface:
    settings, clock, meters = common.settings, common.clock, common.meters
    correction, gaps = Correction(), SessionGaps(meters.gap)
    # By these the operator chooses which replica a smaller pool can do without.
    meters.watch(
        "live_sessions", "Sessions whose KV lies here, by their last round.", lambda: gaps.live(clock())
    )
    meters.watch(
        "kv_usage_ratio",
        "KV memory of the engine in use, 0 to 1; NaN before its first word.",
        lambda: own.gauges.kv_usage if own.gauges.seen_at else math.nan,
    )
    tools = Tools(
        legs=common.legs,
        roster=common.roster,
        history=_learning(settings, meters),
        own=own,
        prefiller=PrefillerHeader(common.roster, meters, clock, settings.honour_prefiller_header),
        prefill_timeout=settings.prefill_timeout,
        clock=clock,
    )
    decider = Decider(
        me=settings.pod_name,
        tools=tools,
        policy=AsNamed(_policy_of(settings, correction)),
        renew=poller.renew,
        correction=correction,
        log=log,
        gaps=gaps,
        ledger=Ledger(lease=settings.kv_lease),
        lengths=Lengths(),
        meters=meters,
        rng=random.Random(),
        wall=time.time,
    )
    telling = Telling(lambda: own.load(clock()), clock)
    gate = _gate(tools, settings)
    return Surface(Place.SIDECAR, decider, gate, meters, common.traffic, clock, extra=telling)


def _learning(settings: Settings, meters: Meters) -> HistoryMoves:
    history = HistoryMoves(
        dialect_of(
            settings.engine_type,
            bidirectional=settings.bidirectional,
            bootstrap_port=settings.bootstrap_port,
        )
    )
    meters.registry.register(history)
    return history


def _gate(tools: Tools, settings: Settings) -> Gate:
    profile = settings.profile
    admission = admission_of(settings.queue_order, admit=settings.admit, reject_late=settings.reject_late)
    if profile is not None and not tools.dialect.both_at_once:  # else it would be a guess, or of nothing
        tools.own.admission = admission
    return Gate(
        tools,
        ttft=settings.slo.ttft,
        seconds_of=_some_seconds if profile is None else profile.prefill_seconds,
        turnstile=None if tools.dialect.both_at_once else Turnstile(admission, tools.clock),
    )


def _some_seconds(new: Tokens, history: Tokens) -> Seconds:
    return _SOME_SECONDS * new


def _policy_of(settings: Settings, correction: Correction) -> PlacementPolicy:
    return placement_policy(
        settings.placement,
        slo=settings.slo,
        profile=settings.profile,
        threshold_tokens=settings.threshold_tokens,
        table=settings.placement_table,
        correction=correction,
    )
