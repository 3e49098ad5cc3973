"""Rounds that are on a decode replica and not decoding yet, and which of them get memory.

    waiting    for memory, in the order of their arrival; who was preempted goes in front
    loading    KV on its way: from a prefill replica, or from the pool
    loaded     KV complete, joins at the next boundary
    prompts    being computed here

Memory is reserved for a whole prompt, as half of it is of no use. Nobody passes anybody: a short prompt that
would fit waits behind a long one that does not, as in vLLM.
"""

from collections import deque
from collections.abc import Callable

from pdscale.model.units import Seconds
from pdscale.sim.memory import KvMemory
from pdscale.sim.request import Request
from pdscale.sim.streams import Streams


class Intake:
    """``queued_tokens`` are prompt tokens to compute here. ``fetch`` is told of memory for KV elsewhere."""

    __slots__ = (
        "_fetch",
        "_memory",
        "_sequences",
        "_streams",
        "loaded",
        "loading",
        "prompts",
        "queued_tokens",
        "waiting",
    )

    def __init__(
        self,
        memory: KvMemory,
        streams: Streams,
        *,
        sequences: int,
        fetch: Callable[[Request, Seconds], None],
    ) -> None:
        self.queued_tokens = 0
        self.waiting: deque[Request] = deque()
        self.loading: dict[Request, None] = {}
        self.loaded: deque[Request] = deque()
        self.prompts: list[Request] = []
        self._memory, self._streams = memory, streams
        self._sequences, self._fetch = sequences, fetch

    def take(self, request: Request) -> None:
        if not request.pulls:
            self.queued_tokens += request.target - request.history
        self.waiting.append(request)

    def take_back(self, request: Request, context: int) -> None:
        """It was preempted with so many tokens to read, and is computed again from the beginning."""
        request.target = context  # its last token is not in the KV yet, so one more than it held
        request.history = request.pool_tokens = request.done = 0
        request.pulls = False
        self.queued_tokens += context
        self.waiting.appendleft(request)

    def arrived(self, request: Request) -> bool:
        """Its KV is here; false if it is no longer expected, as the replica has failed meanwhile."""
        if self.loading.pop(request, request) is request:
            return False
        if request.pulls:
            self.loaded.append(request)
        else:
            self._compute(request)
        return True

    def never_comes(self, request: Request) -> None:
        """The KV it was loading is lost: its prompt is computed here."""
        del self.loading[request]
        request.pulls = False
        self.queued_tokens += request.target - request.history
        self._compute(request)

    def admit(self, at: Seconds) -> None:
        """Reserve memory for those who wait, as far as it and the places in the batch go."""
        waiting, memory = self.waiting, self._memory
        while waiting:
            taken = self._streams.batch + len(self.prompts) + len(self.loading) + len(self.loaded)
            if taken >= self._sequences:
                return
            request = waiting[0]
            needed = request.target - request.held
            if not memory.reserve(needed):
                if taken or not self._strip():
                    return
                continue
            waiting.popleft()
            request.held += needed
            if request.pulls or request.pool_tokens:
                self.loading[request] = None
                self._fetch(request, at)
            else:
                self._compute(request)

    def next_to_join(self) -> Request | None:
        """Whose KV is complete, if there is a place in the batch."""
        if self.loaded and self._streams.batch + len(self.prompts) < self._sequences:
            return self.loaded.popleft()
        return None

    def computed(self, request: Request, tokens: int) -> bool:
        """So much more of its prompt is there. Whether that is all of it, and it may join."""
        request.done += tokens
        request.computed += tokens
        self.queued_tokens -= tokens
        if request.done < request.target:
            return False
        self.prompts.remove(request)
        return True

    def clear(self) -> list[Request]:
        """All that were here: those nearest to decoding first."""
        lost = [*self.loaded, *self.loading, *self.prompts, *self.waiting]
        for rounds in (self.loaded, self.loading, self.prompts, self.waiting):
            rounds.clear()
        self.queued_tokens = 0
        return lost

    def _compute(self, request: Request) -> None:
        request.done = request.history
        self.prompts.append(request)

    def _strip(self) -> bool:
        """Nobody can go on because all wait with pinned histories: the last of them loses its own.

        Returns whether there was one to take. Its prompt is computed here from the beginning.
        """
        for request in reversed(self.waiting):
            if request is not self.waiting[0] and request.held:
                self._memory.release(request.held)
                self.queued_tokens += request.target if request.pulls else request.history
                request.held = request.history = request.pool_tokens = 0
                request.pulls = False
                return True
        return False
