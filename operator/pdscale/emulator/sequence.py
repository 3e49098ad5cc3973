"""One request inside the engine: its tokens, its blocks, and what its KV has really seen."""

from dataclasses import dataclass, field
from enum import StrEnum

from pdscale.emulator.blocks import BlockCache, BlockId, Content, Key, after, keys_of
from pdscale.emulator.tokens import NOTHING_SEEN, Context, Token, follow
from pdscale.emulator.transfer import TransferParams
from pdscale.model.units import Seconds


class Phase(StrEnum):
    """LOADING waits for KV of another engine; everything else that waits is WAITING."""

    WAITING = "waiting"
    LOADING = "loading"
    RUNNING = "running"
    FINISHED = "finished"


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Room:
    """Where the two legs of a round meet: a number at the prefill engine's bootstrap server.

    A decode leg ``fetches`` KV there, a prefill leg leaves it.
    """

    host: str
    port: int
    number: int
    fetches: bool


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine is asked for. ``stops`` is whether the model may end its answer itself.

    ``stop`` are texts that end it. ``params`` and ``room`` say where KV comes from or goes to: the one is
    vLLM's way, the other SGLang's.
    """

    id: str
    prompt: tuple[Token, ...]
    max_tokens: int
    min_tokens: int = 0
    stops: bool = False
    stop: tuple[str, ...] = ()
    priority: int = 0
    params: TransferParams | None = None
    room: Room | None = None

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("prompt must have at least 1 token, got 0")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {self.max_tokens}")

    @property
    def loads_kv(self) -> bool:
        """Whether all of its KV comes from another engine."""
        if self.room is not None:
            return self.room.fetches
        return self.params is not None and self.params.remote_prefill


@dataclass(slots=True)
class Timeline:
    """Instants of a request's life on the engine's clock; absent until they have come."""

    arrived: Seconds
    scheduled: Seconds | None = None
    first_token: Seconds | None = None
    last_token: Seconds | None = None


@dataclass(slots=True, eq=False)
class Sequence:
    """``computed`` tokens have KV in ``blocks``; ``tokens`` are prompt and answer.

    ``told_cached`` are the prefix hits of the prefill leg, as far as it told them with its KV.

    ``_seen`` is the context after the last full block. ``_tail`` mirrors the content of the block that
    is being filled, ``_tail_seen`` the context that this content claims to continue; it differs from
    ``_seen`` only if the block came from foreign memory.
    """

    request: Request
    number: int
    block_size: int
    times: Timeline
    phase: Phase = Phase.WAITING
    tokens: list[Token] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    blocks: list[BlockId] = field(default_factory=list)
    computed: int = 0
    connected: bool = False
    local_cached: int = 0
    external_cached: int = 0
    told_cached: int | None = None
    preemptions: int = 0
    _seen: Context = NOTHING_SEEN
    _tail: list[Token] = field(default_factory=list)
    _tail_seen: Context = NOTHING_SEEN

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt)
        self.keys = keys_of(self.tokens, self.block_size)

    @property
    def waits(self) -> bool:
        return self.phase is Phase.WAITING

    @property
    def pending(self) -> int:
        """Tokens that must still be computed before the next one can be chosen."""
        return len(self.tokens) - self.computed

    @property
    def generated(self) -> int:
        return len(self.tokens) - len(self.request.prompt)

    @property
    def cached(self) -> int:
        """Prefix hits as reported to the client: a decode leg repeats those of its prefill leg."""
        params, told = self.request.params, self.told_cached
        if params is not None and params.remote_prefill:
            told = params.prefill_cached
        if told is not None:
            return min(max(0, told), len(self.request.prompt))
        return self.local_cached + self.external_cached

    def reusable(self, cache: BlockCache) -> list[BlockId]:
        """Cached blocks of the longest known prefix, never all: the last token is always computed."""
        return cache.find(self.keys[: (len(self.tokens) - 1) // self.block_size])

    def adopt(self, cache: BlockCache, computed: int) -> None:
        """Start from the KV of ``computed`` tokens that the blocks hold, whatever it is."""
        full, rest = divmod(computed, self.block_size)
        self.computed = computed
        self._seen = NOTHING_SEEN
        for block in self.blocks[:full]:
            self._seen = after(self._seen, cache.read(block))
        self._tail, self._tail_seen = [], self._seen
        if rest:
            content = cache.read(self.blocks[full])
            held = content.tokens[:rest]
            self._tail = [*held, *([0] * (rest - len(held)))]
            self._tail_seen = content.seen

    def receive(self, cache: BlockCache, contents: tuple[Content, ...], tokens: int) -> None:
        """KV of ``tokens`` beyond the local hits is here; the last prompt token is computed again."""
        first = self.local_cached // self.block_size
        # Fewer contents than blocks leave memory as it was: wrong KV, as on a real engine.
        for block, content in zip(self.blocks[first:], contents, strict=False):
            cache.write(block, content)
        self.adopt(cache, min(self.local_cached + tokens, len(self.tokens) - 1))
        self.seal(cache)

    def seal(self, cache: BlockCache) -> None:
        """Make the full blocks findable under the tokens that they are meant to hold."""
        for i in range(self.computed // self.block_size):
            cache.seal(self.blocks[i], self._key(i))

    def compute(self, cache: BlockCache, count: int) -> None:
        """Write KV of the next ``count`` tokens."""
        size = self.block_size
        while count:
            step = min(count, size - len(self._tail))
            self._tail += self.tokens[self.computed : self.computed + step]
            self.computed += step
            count -= step
            if len(self._tail) == size:
                self._close_block(cache, self.computed // size - 1)

    def flush(self, cache: BlockCache) -> None:
        """Write the unfinished block too, so that another engine may read it."""
        if self._tail:
            block = self.blocks[self.computed // self.block_size]
            cache.write(block, Content(self._tail_seen, tuple(self._tail)))

    def forget(self) -> None:
        """Lose all KV: it will be computed again."""
        self.blocks, self.computed = [], 0
        self._seen, self._tail, self._tail_seen = NOTHING_SEEN, [], NOTHING_SEEN

    @property
    def seen(self) -> Context:
        """What the next choice is made from."""
        if not self._tail:
            return self._seen
        return after(self._seen, Content(self._tail_seen, tuple(self._tail)))

    def _close_block(self, cache: BlockCache, index: int) -> None:
        key = self._key(index)
        content = Content(self._tail_seen, tuple(self._tail))
        block = self.blocks[index]
        cache.write(block, content)
        before = self.keys[index - 1] if index else NOTHING_SEEN
        honest = self._seen == self._tail_seen == before
        self._seen = key if honest and self._fresh(index) else after(self._seen, content)
        cache.seal(block, key)
        self._tail, self._tail_seen = [], self._seen

    def _fresh(self, index: int) -> bool:
        """Whether the block holds just the tokens that it should, and so its key is its digest."""
        start = index * self.block_size
        return self._tail == self.tokens[start : start + self.block_size]

    def _key(self, index: int) -> Key:
        while len(self.keys) <= index:
            start = len(self.keys) * self.block_size
            before = self.keys[-1] if self.keys else NOTHING_SEEN
            self.keys.append(follow(before, self.tokens[start : start + self.block_size]))
        return self.keys[index]
