"""One round while it is under way: what engines have to know of it.

Mutable on purpose and private to the simulator: an engine that goes through hundreds of millions of tokens
cannot make a value of each step. What remains of a round afterwards stands in ``records``.
"""

import math

from pdscale.model.units import Seconds
from pdscale.placement.ordering import PrefillLeg


class Request:
    """Lengths in tokens. Unset instants are NaN."""

    __slots__ = (
        "arrived",
        "computed",
        "done",
        "end",
        "first_token",
        "held",
        "history",
        "index",
        "joined_context",
        "joined_count",
        "last_token",
        "left",
        "leg",
        "limit",
        "moved",
        "output",
        "pool_tokens",
        "prompt",
        "pulls",
        "session",
        "slow",
        "slow_mark",
        "target",
        "ticket",
    )

    def __init__(
        self, index: int, session: int, *, prompt: int, output: int, arrived: Seconds, limit: Seconds
    ) -> None:
        self.index = index
        self.session = session
        self.prompt = prompt
        self.output = output
        self.arrived = arrived
        self.limit = limit  # on its TTFT
        self.leg: PrefillLeg | None = None
        # KV on the decode replica.
        self.history = 0  # tokens that need not be computed: pinned there, or in the pool
        self.pool_tokens = 0  # the part of them that has to come from the pool
        self.held = 0  # reserved for it
        self.target = prompt  # needed before a token can be decoded
        self.done = 0  # there already, while it is being computed
        self.pulls = False  # the KV is computed elsewhere and has to be fetched
        # Its answer.
        self.left = output
        self.end = 0  # the engine's step count at which it is complete, while it is decoding
        self.ticket = 0  # of its present stay in the batch
        self.joined_count = 0
        self.joined_context = 0
        self.first_token = math.nan
        self.last_token = math.nan
        self.slow = 0
        self.slow_mark = 0
        # Work that was done for it.
        self.computed = 0
        self.moved = 0

    @property
    def increment(self) -> int:
        """Prompt tokens that some replica has to compute, if nothing is lost meanwhile."""
        return self.prompt - self.history
