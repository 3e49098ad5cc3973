"""KV memory of one decode replica, in tokens.

Three kinds, in the order of who may be driven out: *idle* histories of sessions between two rounds, the
least recently used first; *running* contexts, which grow by a token a step; *reserved* tokens of rounds
that are not decoding yet: pinned histories, prompts being computed, KV on its way.
"""


class KvMemory:
    """``running`` is the engine's to set, or to let grow: it does with every step, in closed form."""

    __slots__ = ("_idle", "capacity", "evicted", "idle", "reserved", "running")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.running = 0
        self.reserved = 0
        self.idle = 0
        self.evicted = 0
        self._idle: dict[int, int] = {}  # session -> tokens, least recently used first

    @property
    def free(self) -> int:
        """What can be had; idle histories give way."""
        return self.capacity - self.running - self.reserved

    @property
    def usage(self) -> float:
        """As engines report it: blocks that are only cached count as free."""
        return min(1.0, (self.running + self.reserved) / self.capacity)

    def reserve(self, tokens: int) -> bool:
        if tokens > self.capacity - self.running - self.reserved:
            return False
        self.reserved += tokens
        if self.running + self.reserved + self.idle > self.capacity:
            self.make_room()
        return True

    def grow_to(self, running: int) -> None:
        """Running contexts hold so many tokens now; there is room for them, if idle histories give way."""
        self.running = running
        if self.idle and running + self.reserved + self.idle > self.capacity:
            self.make_room()

    def release(self, tokens: int) -> None:
        self.reserved -= tokens

    def pin(self, session: int) -> int:
        """Reserve what is left of a session's history, and say how much that is."""
        tokens = self._idle.pop(session, 0)
        self.idle -= tokens
        self.reserved += tokens
        return tokens

    def keep(self, session: int, tokens: int) -> None:
        """An answer has ended: its context stays until somebody needs the room."""
        self.idle += tokens - self._idle.pop(session, 0)
        self._idle[session] = tokens
        if self.running + self.reserved + self.idle > self.capacity:
            self.make_room()

    def make_room(self) -> None:
        """Drive out idle histories until what grows has its place."""
        idle = self._idle
        while idle and self.running + self.reserved + self.idle > self.capacity:
            session = next(iter(idle))
            tokens = idle.pop(session)
            self.idle -= tokens
            self.evicted += tokens

    def forget_all(self) -> None:
        """The replica is gone, or becomes another role's."""
        self._idle.clear()
        self.idle = self.running = self.reserved = 0
