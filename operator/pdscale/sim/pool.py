"""A KV pool that all replicas share: histories outlive the replica that made them.

Writing is free (it happens beside the answer); reading is a transfer through the reader's network card. The
least recently used sessions go first.
"""


class KvPool:
    """``capacity`` in tokens; 0 is no pool."""

    __slots__ = ("_held", "capacity", "tokens")

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self._held: dict[int, int] = {}
        self.tokens = 0

    def put(self, session: int, tokens: int) -> None:
        if not self.capacity:
            return
        self.tokens += tokens - self._held.pop(session, 0)
        self._held[session] = tokens
        while self.tokens > self.capacity and self._held:
            self.tokens -= self._held.pop(next(iter(self._held)))

    def has(self, session: int) -> int:
        return self._held.get(session, 0)
