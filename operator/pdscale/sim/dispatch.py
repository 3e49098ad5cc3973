"""A round's way: binding, placement, exchange, and the next round of its session, by the live deciders.

The dispatcher is what front router and sidecars are together. It performs an exchange's commands on simulated
engines and feeds back what becomes of them, each at its virtual instant.
"""

import random
from typing import Final

from pdscale.model.cluster import Endpoint
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.placement.binding import Bindings
from pdscale.placement.exchange import (
    ClientLeft,
    Command,
    Cut,
    Decode,
    DecodeEnded,
    DecodeFailed,
    DecodeStarted,
    Exchange,
    Fail,
    Prefill,
    PrefillDone,
    PrefillFailed,
)
from pdscale.placement.policy import Busy, Kind, Round
from pdscale.sim.agenda import CLIENT, Agenda
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.fleet import Fleet, Replica
from pdscale.sim.meter import Meter
from pdscale.sim.network import Network
from pdscale.sim.pool import KvPool
from pdscale.sim.prefill import PrefillEngine
from pdscale.sim.records import Outcome, Result
from pdscale.sim.request import Request
from pdscale.sim.scenario import Scenario
from pdscale.sim.sight import Sight, load_of
from pdscale.sim.traffic import LAST, Traffic
from pdscale.sim.transfers import Arrival, Transfers
from pdscale.sim.way import Way

# To look a member up in its class costs as much as a call.
_DECODE: Final = Role.DECODE
_LOCAL, _REMOTE = Kind.LOCAL, Kind.REMOTE
_SERVED: Final = Outcome.SERVED
# Events without content are the same every time.
_PREFILLED: Final = PrefillDone({})
_STARTED: Final = DecodeStarted()
_ENDED: Final = DecodeEnded()


class Dispatcher:
    """``fleet``, ``sight`` and ``meter`` are set by who builds it: they need it, and it needs them."""

    fleet: Fleet
    sight: Sight
    meter: Meter | None = None

    def __init__(
        self, scenario: Scenario, traffic: Traffic, agenda: Agenda, result: Result, rng: random.Random
    ) -> None:
        self.open = 0  # rounds that have arrived and are not over
        self.answering = 0  # those of them that have a first token
        self.left = len(traffic)  # rounds that are not over
        self._scenario, self._traffic, self._agenda = scenario, traffic, agenda
        self._result, self._rng = result, rng
        self._bindings: Bindings = scenario.bindings()
        self._transfers = Transfers(
            Network(scenario.decode.model),
            KvPool(scenario.pool_tokens),
            agenda,
            history_moves=scenario.history_moves,
            arrived=self._arrived,
            failed=self._transfer_failed,
        )
        self._prefill_model = scenario.prefill.model
        self._longest = scenario.decode.kv_tokens

    # -- a round begins -----------------------------------------------------------------------------------

    def arrive(self, index: int) -> None:
        traffic, now = self._traffic, self._agenda.now
        self.open += 1
        self._result.arrived[index] = now
        request = Way(
            index,
            traffic.session[index],
            prompt=traffic.prompt[index],
            output=traffic.output[index],
            arrived=now,
            limit=self._ttft_limit(index),
        )
        self._result.limit[index] = request.limit
        if self.meter is not None:
            self.meter.arrived(now)
        if request.prompt + request.output > self._longest:
            self._over(request, Outcome.TOO_LONG)
        elif self._scenario.overhead:
            self._agenda.at(now + self._scenario.overhead, CLIENT, self._dispatch, request)
        else:
            self._dispatch(request)

    def _ttft_limit(self, index: int) -> Seconds:
        limit, stretch = self._scenario.slo.ttft, self._scenario.ttft_stretch
        if not stretch:
            return limit
        history = self._traffic.history[index]
        new = self._traffic.prompt[index] - history
        return max(limit, stretch * self._prefill_model.prefill_seconds(new, history))

    def _dispatch(self, request: Way) -> None:
        now = self._agenda.now
        name, view = self._traffic.names[request.session], self.sight.view(now)
        bound = self._bindings.bind(name, view, now=now)
        if isinstance(bound, Busy):
            self._over(request, Outcome.REFUSED)
            return
        self._bindings.began(bound.name)
        replica = self.fleet.decode[bound.name]
        replica.rounds[request] = None
        engine = replica.engine
        request.decode = replica
        self._result.decode[request.index] = replica.number
        engine.advance(now)
        load = load_of(engine, now)  # before the history: what the round brings is not the replica's load
        index, traffic = request.index, self._traffic
        self._transfers.find_history(
            request, engine, wanted=traffic.history[index], common=traffic.common[index]
        )
        own = Endpoint(bound.name, "", _DECODE, True, False, load)
        asked = Round(
            name, request.history, request.increment, self._scenario.history_moves, now - request.arrived
        )
        placement = replica.policy.place(asked, view, own, now=now, rng=self._rng)
        remote = placement.kind is _REMOTE
        request.placement, request.placed_at = placement, now
        self._result.placed(request, placement.kind, placement.reason)
        request.exchange = Exchange(decode=bound.name, prefill=placement.endpoint.name if remote else None)
        self._perform(request, replica, request.exchange.first)

    # -- commands -----------------------------------------------------------------------------------------

    def _perform(self, request: Way, replica: Replica[DecodeEngine], command: Command) -> None:
        if isinstance(command, Prefill):
            self._prefill(request, replica, command.endpoint)
        elif isinstance(command, Decode):
            request.pulls = command.params is not None
            replica.engine.take(request)
        elif isinstance(command, Cut | Fail):
            self._over(request, Outcome.CUT)

    def _prefill(self, request: Way, replica: Replica[DecodeEngine], name: str) -> None:
        prefill = self.fleet.prefill.get(name)
        moves = self._scenario.history_moves
        busy = None
        if prefill is not None:
            request.prefill = prefill
            new = request.increment if moves else request.prompt
            busy = prefill.engine.offer(request, new=new, history=request.history if moves else 0)
        if prefill is None or busy is not None:
            request.prefill = None
            self._fed(request, replica, PrefillFailed())
            return
        prefill.rounds[request] = None
        self._result.prefill[request.index] = prefill.number

    def _fed(
        self,
        request: Way,
        replica: Replica[DecodeEngine],
        event: PrefillFailed | PrefillDone | DecodeFailed,
    ) -> None:
        exchange = request.exchange
        assert exchange is not None
        command = exchange.feed(event)
        if exchange.fell_back is not None:
            self._result.placed(request, _LOCAL, exchange.fell_back)
        self._perform(request, replica, command)

    # -- what prefill replicas tell -----------------------------------------------------------------------

    def pull(self, request: Request) -> bool:
        assert isinstance(request, Way)
        return self._transfers.pull(request)

    def prefilled(self, request: Request) -> None:
        assert isinstance(request, Way)
        assert request.decode is not None
        self._fed(request, request.decode, _PREFILLED)

    # -- what decode replicas tell ------------------------------------------------------------------------

    def fetch(self, request: Request, at: Seconds) -> None:
        assert isinstance(request, Way)
        self._transfers.fetch(request, at)

    def _arrived(self, arrival: Arrival) -> None:
        request, decode, prefill = arrival
        if prefill is not None:
            self._let_go(request, prefill)
        decode.engine.loaded(request)

    def _transfer_failed(self, request: Way) -> None:
        """The prefill replica went with the KV: the decode replica computes the prompt itself."""
        exchange, decode = request.exchange, request.decode
        assert exchange is not None
        assert decode is not None
        if decode.engine.dead:
            return
        exchange.feed(DecodeFailed())
        if exchange.fell_back is not None:
            self._result.placed(request, _LOCAL, exchange.fell_back)
        decode.engine.recompute(request)

    def began(self, request: Request) -> None:
        assert isinstance(request, Way)
        self.answering += 1
        exchange, placement, decode = request.exchange, request.placement, request.decode
        assert exchange is not None
        assert placement is not None
        assert decode is not None
        exchange.feed(_STARTED)
        if request.prefill is not None and not request.pulls:  # its KV was not fetched in the end
            self._let_go(request, request.prefill)
        if exchange.fell_back is not None:
            reused = request.history
        elif placement.kind is _REMOTE and not self._scenario.history_moves:
            reused = 0
        else:
            reused = request.history
        self._result.reused[request.index] = reused
        if placement.predicted is not None and exchange.fell_back is None:
            seen = request.first_token - request.placed_at
            decode.correction.observe(
                placement.kind, predicted=placement.predicted, seen=seen, now=request.first_token
            )

    def ended(self, request: Request, at: Seconds) -> None:
        assert isinstance(request, Way)
        exchange = request.exchange
        assert exchange is not None
        exchange.feed(_ENDED)
        self._transfers.pool.put(request.session, request.prompt + request.output - 1)
        if self.meter is not None:
            uncached = request.prompt - self._result.reused[request.index]
            self.meter.ended(prompt=request.prompt, uncached=uncached, output=request.output, now=at)
        self._over(request, _SERVED)

    # -- a round is over ----------------------------------------------------------------------------------

    def _over(self, request: Way, outcome: Outcome) -> None:
        """Close it, and let its session go on after the wait."""
        now, index, traffic = self._agenda.now, request.index, self._traffic
        self.open -= 1
        self.left -= 1
        if request.first_token == request.first_token:
            self.answering -= 1
        self._result.close(request, outcome, now)
        following, replica = traffic.following[index], request.decode
        if replica is not None:
            self._bindings.ended(replica.name)
            if traffic.is_alone(index):  # live, a client that names no session is forgotten at once
                self._bindings.forget(traffic.names[request.session])
            replica.rounds.pop(request, None)
            self.fleet.may_go(replica)
        if following != LAST:
            self._agenda.at(now + traffic.begins[following], CLIENT, self.arrive, following)

    def _let_go(self, request: Way, prefill: Replica[PrefillEngine]) -> None:
        if prefill.rounds.pop(request, request) is None:
            self.fleet.may_go(prefill)

    # -- failures -----------------------------------------------------------------------------------------

    def decode_failed(self, replica: Replica[DecodeEngine]) -> None:
        """Streams are cut; rounds without a first token are bound anew, as a front router tries the next."""
        replica.engine.advance(self._agenda.now)
        replica.engine.fail()
        rounds = list(replica.rounds)
        replica.rounds.clear()
        self.fleet.failed(replica)
        for request in rounds:
            assert isinstance(request, Way)
            exchange = request.exchange
            assert exchange is not None
            if request.prefill is not None:
                if request.leg is not None:
                    request.prefill.engine.cancel(request.leg)
                self._let_go(request, request.prefill)
            if request.first_token == request.first_token:
                exchange.feed(DecodeFailed())
                self._over(request, Outcome.CUT)
                continue
            exchange.feed(ClientLeft())
            self._bindings.ended(replica.name)
            self._dispatch(self._again(request))

    def prefill_failed(self, replica: Replica[PrefillEngine]) -> None:
        """Legs fall back to the decode replica; so will rounds whose KV has not been fetched yet."""
        lost = replica.engine.fail()
        replica.rounds.clear()
        self.fleet.failed(replica)
        for request in lost:
            assert isinstance(request, Way)
            assert request.decode is not None
            request.prefill = request.leg = None
            self._fed(request, request.decode, PrefillFailed())

    def _again(self, request: Way) -> Way:
        again = Way(
            request.index,
            request.session,
            prompt=request.prompt,
            output=request.output,
            arrived=request.arrived,
            limit=request.limit,
        )
        again.computed, again.moved = request.computed, request.moved
        return again

    @property
    def moved_tokens(self) -> int:
        return self._transfers.tokens
