"""Which KV travels when: history to the prefill replica, the increment back, and what the pool has.

a leg is let in         history      decode -> prefill (and pool -> prefill)
memory is reserved      increment    prefill -> decode (and pool -> decode)
"""

from collections.abc import Callable

from pdscale.model.units import Seconds
from pdscale.sim.agenda import NETWORK, Agenda
from pdscale.sim.decode import DecodeEngine
from pdscale.sim.fleet import Replica, State
from pdscale.sim.network import Network
from pdscale.sim.pool import KvPool
from pdscale.sim.prefill import PrefillEngine
from pdscale.sim.way import Way

Arrival = tuple[Way, Replica[DecodeEngine], Replica[PrefillEngine] | None]


class Transfers:
    """``arrived`` hears of KV that is at its decode replica, ``failed`` of KV that went with its replica."""

    def __init__(
        self,
        network: Network,
        pool: KvPool,
        agenda: Agenda,
        *,
        history_moves: bool,
        arrived: Callable[[Arrival], None],
        failed: Callable[[Way], None],
    ) -> None:
        self.pool = pool
        self.history_moves = history_moves
        self._network, self._agenda = network, agenda
        self._arrived, self._failed = arrived, failed

    @property
    def tokens(self) -> int:
        """All that was moved so far."""
        return self._network.tokens

    def find_history(self, request: Way, engine: DecodeEngine, *, wanted: int, common: int) -> None:
        """Pin what the replica has of the session's history; the pool may have more, and what is common."""
        pinned = engine.memory.pin(request.session)
        if pinned > wanted:
            engine.memory.release(pinned - wanted)
            pinned = wanted
        request.held = request.history = pinned
        if not self.pool.capacity:
            return
        in_pool = min(wanted, self.pool.has(request.session))
        # Nobody has an answer's last token. A first round takes nothing: policies know it by that.
        if wanted and in_pool >= wanted - 1:
            in_pool += common
        if in_pool > pinned:
            request.pool_tokens = in_pool - pinned
            request.history = in_pool

    def pull(self, request: Way) -> bool:
        """The history goes to the prefill replica; false if there is none or it cannot move."""
        if not request.history or not self.history_moves:
            return False
        decode, prefill, now = request.decode, request.prefill, self._agenda.now
        assert decode is not None
        assert prefill is not None
        assert request.leg is not None
        pinned, card = request.history - request.pool_tokens, prefill.engine.nic
        arrives = self._network.send(pinned, source=decode.engine.nic, target=card, now=now)
        from_pool = self._network.send(request.pool_tokens, source=None, target=card, now=now)
        request.moved += request.history
        self._agenda.at(max(arrives, from_pool), NETWORK, prefill.engine.pulled, request.leg)
        return True

    def fetch(self, request: Way, at: Seconds) -> None:
        """Bring what the decode replica lacks, from the prefill replica and from the pool."""
        decode, prefill, arrives = request.decode, request.prefill, at
        assert decode is not None
        if request.pulls:
            assert prefill is not None
            if prefill.state is State.GONE:
                self._agenda.at(at, NETWORK, self._failed, request)
                return
            source, card = prefill.engine.nic, decode.engine.nic
            arrives = self._network.send(request.increment, source=source, target=card, now=at)
            request.moved += request.increment
        if request.pool_tokens:
            from_pool = self._network.send(request.pool_tokens, source=None, target=decode.engine.nic, now=at)
            arrives = max(arrives, from_pool)
            request.moved += request.pool_tokens
        self._agenda.at(arrives, NETWORK, self._arrived, (request, decode, prefill))
