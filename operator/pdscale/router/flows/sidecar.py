"""Beside an engine: decides placement on a decode pod, guards the engine on a prefill pod.

Which of the two it is follows the pod's label at run time. A prefill leg is passed to the engine in
either role, since both roles' engines are alike: one that was under way while the role changed need
not fail. Anything else reaches an engine through a decode pod only.
"""

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from pdscale.engines.history import only_the_prompt
from pdscale.engines.ledger import Clocks, Ledger
from pdscale.model.cluster import Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.continuity import Continuity
from pdscale.placement.correction import Correction
from pdscale.placement.exchange import Exchange
from pdscale.placement.freshness import whom_to_ask
from pdscale.placement.lengths import Estimate, Lengths
from pdscale.placement.policy import (
    BusyReason,
    Kind,
    Placement,
    PlacementPolicy,
    PlacementReason,
    Round,
    local,
)
from pdscale.placement.session_log import SessionLog
from pdscale.router.flows.delivery import Verdict
from pdscale.router.flows.plain import pass_to_engine, refuse
from pdscale.router.flows.proxy import RoundTrip
from pdscale.router.flows.remote_rounds import RemoteRounds
from pdscale.router.flows.session_gaps import SessionGaps
from pdscale.router.flows.tools import Tools
from pdscale.router.hop.inbound import RECOGNISED, Inbound
from pdscale.router.hop.outlet import Outlet
from pdscale.router.meters import Meters

# Of the engine's KV memory; the rest is for the rounds at work.
_PINNED_UP_TO: Final = 0.7


@dataclass(slots=True)
class Decider:
    """The decode role: one placement and one exchange per round. ``renew`` asks peers for their load."""

    me: str
    tools: Tools
    policy: PlacementPolicy
    renew: Callable[[Iterable[str]], Awaitable[None]]
    ledger: Ledger
    lengths: Lengths
    meters: Meters
    rng: random.Random
    wall: Callable[[], Seconds]
    correction: Correction = field(default_factory=Correction)
    continuity: Continuity = field(default_factory=Continuity)
    log: SessionLog = field(default_factory=SessionLog)
    gaps: SessionGaps = field(default_factory=SessionGaps)

    async def serve(self, inbound: Inbound, outlet: Outlet) -> int:
        if self.tools.roster.role_of(self.me) is not Role.DECODE:
            return refuse(outlet, BusyReason.WRONG_ROLE)
        if inbound.body is None:
            return await pass_to_engine(self.tools, inbound, outlet)
        if inbound.once:
            return await self._round(inbound, inbound.body, outlet)
        self.gaps.began(inbound.session, self.tools.clock())
        code = 0
        try:
            code = await self._round(inbound, inbound.body, outlet)
        finally:
            self.gaps.ended(inbound.session, self.tools.clock(), answered=0 < code < 400)
        return code

    async def _round(self, inbound: Inbound, body: dict[str, object], outlet: Outlet) -> int:
        now = self.tools.clock()
        said = self._recognise(inbound, body, now)
        estimate = self.lengths.estimate(inbound.session, inbound.received_bytes, now=now)
        self.meters.arrived(estimate.increment)
        whom = whom_to_ask(self.tools.roster.view(now), estimate.increment, now=now, without=(self.me,))
        if whom:
            await self.renew([endpoint.name for endpoint in whom])
            now = self.tools.clock()  # which a choice must not be older than
        if not self.tools.dialect.local_possible:
            rounds = RemoteRounds(self.tools, self.policy, self.meters, self.rng)
            verdict = await rounds.serve(inbound, outlet, decode=self._self(now), estimate=estimate)
            self._remember(inbound, estimate, verdict, said)
            return verdict.code
        splittable = self.tools.dialect.splittable(inbound.path, body)
        placement = self._place(inbound, estimate, now) if splittable else self._unsplit(now)
        remote = placement.kind is Kind.REMOTE
        history = self.ledger.take(inbound.session, now) if remote else None
        trip = RoundTrip(
            tools=self.tools,
            inbound=inbound,
            body=body,
            outlet=outlet,
            exchange=Exchange(decode=self.me, prefill=placement.endpoint.name if remote else None),
            new_tokens=estimate.increment,
            context=estimate.history + estimate.increment,
            history=history,
            plain=not splittable or self._keeps_nothing(inbound, estimate),
        )
        try:
            verdict = await trip.run()
        finally:
            self._count(placement, trip.exchange)
        if (
            placement.predicted is not None
            and verdict.first_token is not None
            and not trip.exchange.fell_back
        ):
            seen = verdict.first_token - now
            self.correction.observe(placement.kind, predicted=placement.predicted, seen=seen, now=now)
        self._remember(inbound, estimate, verdict, said)
        return verdict.code

    def _keeps_nothing(self, inbound: Inbound, estimate: Estimate) -> bool:
        """Whether no blocks are to stay pinned for the session's next round.

        Most chats without a name never come back after their first. And what is pinned, no engine evicts:
        with its memory full of that, new rounds would wait until leases end.
        """
        if inbound.once or self.tools.own.gauges.kv_usage > _PINNED_UP_TO:
            return True
        return inbound.session.startswith(RECOGNISED) and not estimate.history

    def _recognise(self, inbound: Inbound, body: dict[str, object], now: Seconds) -> object:
        """A request that does not go on where its session stopped has none of its history.

        Returns the mark of what the session says with this request.
        """
        if inbound.once:
            return None
        self.log.note(inbound.session, now)
        if not self.continuity.goes_on(inbound.session, body):
            self.ledger.drop(inbound.session)
            self.lengths.forget(inbound.session)
        return self.continuity.latest(inbound.session)

    def _place(self, inbound: Inbound, estimate: Estimate, now: Seconds) -> Placement:
        asked = Round(
            session=inbound.session,
            history=estimate.history,
            increment=estimate.increment,
            history_moves=self.ledger.has(inbound.session, now),
            waited=max(0.0, now - inbound.arrived),
            prefiller=self.tools.prefiller(inbound.prefiller),
        )
        view = self.tools.roster.view(now)
        return self.policy.place(asked, view, self._self(now), now=now, rng=self.rng)

    def _unsplit(self, now: Seconds) -> Placement:
        return local(self._self(now), PlacementReason.NOT_SPLITTABLE)

    def _self(self, now: Seconds) -> Endpoint:
        """This pod as policies see it, with figures fresher than anyone else's."""
        known, load = self.tools.roster.peer(self.me), self.tools.own.load(now)
        if known is None:
            return Endpoint(self.me, "", Role.DECODE, load=load)
        end = known.endpoint
        return Endpoint(end.name, end.address, end.role, ready=end.ready, draining=end.draining, load=load)

    def _count(self, placement: Placement, exchange: Exchange) -> None:
        if exchange.fell_back is not None:
            self.meters.placed(Kind.LOCAL, exchange.fell_back)
        else:
            self.meters.placed(placement.kind, placement.reason)

    def _remember(self, inbound: Inbound, estimate: Estimate, verdict: Verdict, said: object) -> None:
        now, usage = self.tools.clock(), verdict.usage
        if usage is not None and usage.cached is not None:
            actual = max(0, usage.prompt - usage.cached)
            self.meters.estimated(guess=estimate.increment, actual=actual)
        if inbound.once or self.continuity.latest(inbound.session) is not said:
            return  # the session has spoken again meanwhile: this KV may belong to words it took back
        if usage is not None:
            self.lengths.learn(
                inbound.session,
                inbound.received_bytes,
                prompt=usage.prompt,
                completion=usage.completion,
                now=now,
            )
        if verdict.params is not None and usage is not None:
            history = only_the_prompt(verdict.params, usage.prompt)
            if history is not None:
                self.ledger.keep(inbound.session, history, Clocks(now, self.wall()))
