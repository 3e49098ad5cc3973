"""KV on its way: one network card per replica, two directions, first come first served in each.

A transfer holds the sender's outbound and the receiver's inbound side from its start to its end, and starts
when both are free. Long ones are not shared fairly with short ones: NIXL moves a request's blocks as one
batch of reads, and so does the emulated engine. A KV pool has bandwidth enough; there the receiver's side
counts.
"""

from pdscale.model.units import Seconds
from pdscale.perf.model import PerformanceModel


class Nic:
    """When its two directions are free again."""

    __slots__ = ("free_in", "free_out")

    def __init__(self) -> None:
        self.free_in: Seconds = 0.0
        self.free_out: Seconds = 0.0


class Network:
    """``model`` says how long a transfer takes on an idle link. Counts what was moved."""

    __slots__ = ("_model", "tokens")

    def __init__(self, model: PerformanceModel) -> None:
        self._model = model
        self.tokens = 0

    def send(self, tokens: int, *, source: Nic | None, target: Nic, now: Seconds) -> Seconds:
        """When so many tokens' KV has arrived; no ``source`` is the pool."""
        if tokens <= 0:
            return now
        start = max(now, target.free_in)
        if source is not None and source.free_out > start:
            start = source.free_out
        end = start + self._model.transfer_seconds(tokens)
        target.free_in = end
        if source is not None:
            source.free_out = end
        self.tokens += tokens
        return end
