import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdscale.emulator.blocks import BlockCache, Content, after, keys_of
from pdscale.emulator.tokens import follow


def filled(cache: BlockCache, key: int) -> int:
    """One block under ``key``, given back at once: cached, and free."""
    blocks = cache.allocate(1)
    assert blocks is not None
    cache.seal(blocks[0], key)
    cache.release(blocks)
    return blocks[0]


@pytest.mark.parametrize(("capacity", "size", "name"), [(0, 16, "capacity"), (1, 0, "block_size")])
def test_a_cache_without_room_is_refused(capacity: int, size: int, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be at least 1, got 0"):
        BlockCache(capacity, size)


def test_memory_that_is_not_there_is_not_given() -> None:
    cache = BlockCache(2, 16)
    assert cache.allocate(3) is None
    assert cache.free == 2


def test_what_only_the_prefix_cache_keeps_is_not_in_use() -> None:
    cache = BlockCache(4, 16)
    block = filled(cache, key=7)
    assert (cache.usage, cache.find([7])) == (0.0, [block])
    cache.take([block])
    assert cache.usage == 0.25


def test_the_least_recently_freed_block_is_forgotten_first() -> None:
    cache = BlockCache(3, 16)
    for key in (1, 2, 3):
        filled(cache, key)
    cache.take(cache.find([1]))
    cache.release(cache.find([1]))
    cache.allocate(1)
    assert [bool(cache.find([key])) for key in (1, 2, 3)] == [True, False, True]


def test_the_end_of_a_sequence_is_forgotten_before_its_beginning() -> None:
    cache = BlockCache(3, 16)
    blocks = cache.allocate(3)
    assert blocks is not None
    for block, key in zip(blocks, (1, 2, 3), strict=True):
        cache.seal(block, key)
    cache.release(blocks)
    cache.allocate(1)
    assert cache.find([1, 2, 3]) == blocks[:2]


def test_a_prefix_ends_at_the_first_block_that_is_missing() -> None:
    cache = BlockCache(4, 16)
    first, _ = filled(cache, 1), filled(cache, 3)
    assert cache.find([1, 2, 3]) == [first]


def test_honest_content_is_seen_as_its_key_says_and_foreign_content_as_nothing_honest() -> None:
    tokens = list(range(8))
    first, second = keys_of(tokens, 4)
    assert after(0, Content(0, (0, 1, 2, 3))) == first
    assert after(first, Content(first, (4, 5, 6, 7))) == second
    assert after(first, Content(99, (4, 5, 6, 7))) not in (second, follow(99, (4, 5, 6, 7)))


def test_only_full_blocks_have_keys() -> None:
    assert len(keys_of(list(range(11)), 4)) == 2


@settings(deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from(["take", "give", "share"]), st.integers(0, 8)), max_size=60),
)
def test_memory_is_conserved_and_never_given_twice(capacity: int, steps: list[tuple[str, int]]) -> None:
    cache = BlockCache(capacity, 16)
    held: list[list[int]] = []
    for step, n in steps:
        if step == "take":
            blocks = cache.allocate(n)
            assert (blocks is None) == (n > capacity - len({b for g in held for b in g}))
            if blocks is not None:
                assert not set(blocks) & {b for group in held for b in group}
                for block in blocks:
                    cache.seal(block, 1000 + block)
                held.append(blocks)
        elif held and step == "give":
            cache.release(held.pop(n % len(held)))
        elif held:
            shared = held[n % len(held)]
            cache.take(shared)
            held.append(list(shared))
        in_use = {block for group in held for block in group}
        assert cache.free == capacity - len(in_use)
        assert cache.usage == len(in_use) / capacity
    for group in held:
        cache.release(group)
    assert cache.free == capacity
