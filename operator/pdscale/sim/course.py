"""A round's way through its legs: the exchange's commands performed on simulated engines, and what becomes of
them fed back, each at its virtual instant.

Feedback that the live router has at a first token (`Correction`) is given here, too.
"""

from collections.abc import Callable
from typing import Final

from pdscale.model.units import Seconds
from pdscale.placement.exchange import (
    Command,
    Cut,
    Decode,
    DecodeEnded,
    DecodeFailed,
    DecodeStarted,
    Event,
    Fail,
    Prefill,
    PrefillDone,
    PrefillFailed,
)
from pdscale.placement.policy import Kind
from pdscale.sim.agenda import Agenda
from pdscale.sim.fleet import Fleet, Replica
from pdscale.sim.meter import Meter
from pdscale.sim.network import Network
from pdscale.sim.pool import KvPool
from pdscale.sim.prefill import PrefillEngine
from pdscale.sim.records import Outcome, Result
from pdscale.sim.request import Request
from pdscale.sim.scenario import Scenario
from pdscale.sim.transfers import Arrival, Transfers
from pdscale.sim.way import Way

# To look a member up in its class costs as much as a call.
_LOCAL, _REMOTE = Kind.LOCAL, Kind.REMOTE
_SERVED: Final = Outcome.SERVED
# Events without content are the same every time.
_PREFILLED: Final = PrefillDone({})
_STARTED: Final = DecodeStarted()
_ENDED: Final = DecodeEnded()


class Course:
    """What engines tell of rounds (``decode.Rounds``, ``prefill.Legs``). ``fleet`` and ``over`` are set by
    who builds it: replicas need it before there is a fleet, and ``over`` hears of rounds that have ended."""

    fleet: Fleet
    over: Callable[[Way, Outcome], None]
    meter: Meter | None = None

    def __init__(self, scenario: Scenario, agenda: Agenda, result: Result) -> None:
        self.answering = 0  # rounds that have a first token and are not over
        self.transfers = Transfers(
            Network(scenario.decode.model),
            KvPool(scenario.pool_tokens),
            agenda,
            history_moves=scenario.history_moves,
            arrived=self._arrived,
            failed=self._transfer_failed,
        )
        self._result, self._moves = result, scenario.history_moves

    # -- commands -----------------------------------------------------------------------------------------

    def start(self, request: Way) -> None:
        """Perform its exchange's first command."""
        assert request.exchange is not None
        self._perform(request, request.exchange.first)

    def feed(self, request: Way, event: Event) -> None:
        """Something has become of a leg; do what follows from it."""
        exchange = request.exchange
        assert exchange is not None
        command = exchange.feed(event)
        if exchange.fell_back is not None:
            self._result.placed(request, _LOCAL, exchange.fell_back)
        self._perform(request, command)

    def _perform(self, request: Way, command: Command) -> None:
        if isinstance(command, Decode):
            assert request.decode is not None
            request.pulls = command.params is not None
            request.decode.engine.take(request)
        elif isinstance(command, Prefill):
            self._prefill(request, command.endpoint)
        elif isinstance(command, Cut | Fail):
            self.over(request, Outcome.CUT)

    def _prefill(self, request: Way, name: str) -> None:
        prefill = self.fleet.prefill.get(name)
        busy = None
        if prefill is not None:
            request.prefill = prefill
            history = request.history if self._moves else 0
            busy = prefill.engine.offer(request, new=request.prompt - history, history=history)
        if prefill is None or busy is not None:
            request.prefill = None
            self.feed(request, PrefillFailed())
            return
        prefill.rounds[request] = None
        self._result.prefill[request.index] = prefill.number

    # -- what prefill replicas tell -----------------------------------------------------------------------

    def pull(self, request: Request) -> bool:
        assert isinstance(request, Way)
        return self.transfers.pull(request)

    def prefilled(self, request: Request) -> None:
        assert isinstance(request, Way)
        self.feed(request, _PREFILLED)

    def let_go(self, request: Way, prefill: Replica[PrefillEngine]) -> None:
        """The prefill replica is no longer needed by it."""
        if prefill.rounds.pop(request, request) is None:
            self.fleet.may_go(prefill)

    # -- what decode replicas tell ------------------------------------------------------------------------

    def fetch(self, request: Request, at: Seconds) -> None:
        assert isinstance(request, Way)
        self.transfers.fetch(request, at)

    def _arrived(self, arrival: Arrival) -> None:
        request, decode, prefill = arrival
        if prefill is not None:
            self.let_go(request, prefill)
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
            self.let_go(request, request.prefill)
        as_placed = exchange.fell_back is None
        computed_anew = as_placed and not self._moves and placement.kind is _REMOTE
        self._result.reused[request.index] = 0 if computed_anew else request.history
        if placement.predicted is not None and as_placed:
            first_token = request.first_token
            decode.correction.observe(
                placement.kind,
                predicted=placement.predicted,
                seen=first_token - request.placed_at,
                now=first_token,
            )

    def ended(self, request: Request, at: Seconds) -> None:
        assert isinstance(request, Way)
        assert request.exchange is not None
        request.exchange.feed(_ENDED)
        self.transfers.pool.put(request.session, request.prompt + request.output - 1)
        if self.meter is not None:
            index, prompt = request.index, request.prompt
            self.meter.ended(
                prompt=prompt,
                uncached=prompt - self._result.reused[index],
                estimate=prompt - self._result.traffic.history[index],
                output=request.output,
                now=at,
            )
        self.over(request, _SERVED)
