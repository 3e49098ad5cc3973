"""The KV memory of one engine: blocks, their reference counts, and the prefix cache over them.

A block has two identities. Its *key* is what the engine believes: the chained hash of the tokens
that the request claimed to have there, by which later prompts find it. Its *content* is what was
really written: the tokens computed and the context that they were computed in. The two agree unless
someone pulled from memory that had been given to somebody else; then the key keeps lying, as it does
on a real engine, and the text shows it.

A block without references stays findable until its memory is needed; the least recently freed goes
first, and memory that was never used before any.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pdscale.emulator.tokens import NOTHING_SEEN, Context, Token, follow

BlockId = int
Key = int


class Content(NamedTuple):
    """The tokens that a block holds KV of, and what their computation had seen before them."""

    seen: Context
    tokens: tuple[Token, ...]


EMPTY = Content(NOTHING_SEEN, ())


def after(seen: Context, content: Content) -> Context:
    """What a sequence has seen once it attends to ``content``, honest or not.

    Content computed in just this context continues it. Foreign content yields something that no
    honest sequence arrives at.
    """
    digest = follow(content.seen, content.tokens)
    return digest if content.seen == seen else follow(seen, (digest & 0xFFFFFFFF, digest >> 32))


def keys_of(tokens: Sequence[Token], block_size: int) -> list[Key]:
    """The chained keys of all full blocks."""
    keys, seen = [], NOTHING_SEEN
    for start in range(0, len(tokens) - block_size + 1, block_size):
        seen = follow(seen, tokens[start : start + block_size])
        keys.append(seen)
    return keys


class BlockCache:
    """Block memory with reference counts. ``take`` and ``release`` must balance."""

    def __init__(self, capacity: int, block_size: int) -> None:
        if capacity < 1:
            raise ValueError(f"blocks.capacity must be at least 1, got {capacity}")
        if block_size < 1:
            raise ValueError(f"blocks.block_size must be at least 1, got {block_size}")
        self.capacity = capacity
        self.block_size = block_size
        self._untouched = 0  # blocks from here on were never used
        self._references: dict[BlockId, int] = {}
        self._free: OrderedDict[BlockId, None] = OrderedDict()
        self._content: dict[BlockId, Content] = {}
        self._key_of: dict[BlockId, Key] = {}
        self._by_key: dict[Key, BlockId] = {}

    @property
    def free(self) -> int:
        """Blocks that nobody holds, cached or not."""
        return self.capacity - len(self._references)

    @property
    def usage(self) -> float:
        """Share of the memory that somebody holds; what only the prefix cache keeps is free."""
        return len(self._references) / self.capacity

    def needed_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def find(self, keys: Iterable[Key]) -> list[BlockId]:
        """The blocks of the longest cached prefix. They are not taken yet."""
        found = []
        for key in keys:
            block = self._by_key.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def idle(self, blocks: Iterable[BlockId]) -> int:
        """How many of ``blocks`` would leave the free memory if they were taken."""
        return sum(block not in self._references for block in blocks)

    def take(self, blocks: Iterable[BlockId]) -> None:
        """One more holder of each of these cached blocks."""
        for block in blocks:
            self._free.pop(block, None)
            self._references[block] = self._references.get(block, 0) + 1

    def allocate(self, count: int) -> list[BlockId] | None:
        """Memory of unknown content, or None if there is not that much."""
        if count > self.free:
            return None
        return [self._claim() for _ in range(count)]

    def release(self, blocks: Sequence[BlockId]) -> None:
        """One holder less. The end of a sequence is forgotten before its beginning."""
        for block in reversed(blocks):
            left = self._references[block] - 1
            if left:
                self._references[block] = left
            else:
                del self._references[block]
                self._free[block] = None

    def write(self, block: BlockId, content: Content) -> None:
        self._content[block] = content

    def read(self, block: BlockId) -> Content:
        """Whatever is there now. An id that was never written holds nothing."""
        return self._content.get(block, EMPTY)

    def seal(self, block: BlockId, key: Key) -> None:
        """Make a full block findable. The first block under a key stays."""
        if key not in self._by_key and block not in self._key_of:
            self._by_key[key] = block
            self._key_of[block] = key

    def _claim(self) -> BlockId:
        if self._untouched < self.capacity:
            block = self._untouched
            self._untouched += 1
        else:
            block, _ = self._free.popitem(last=False)
            key = self._key_of.pop(block, None)
            if key is not None:
                del self._by_key[key]
        self._references[block] = 1
        return block
