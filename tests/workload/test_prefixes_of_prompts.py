"""Block ids in runs: what two prompts share, and what is wrong in a hash file."""

import gzip
import json
from itertools import takewhile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.perf.table import TableError
from pdscale.workload.load import load_trace
from pdscale.workload.prefixes import prefixes_of, read_prefixes

runs = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=5)


def test_runs_spell_out_blocks() -> None:
    prefixes = prefixes_of([[(0, 1), (14, 3)], [], [(7, 2)]], 512)
    assert [list(prefixes.blocks(i)) for i in range(3)] == [[0, 14, 15, 16], [], [7, 8]]
    assert [prefixes.size(i) for i in range(len(prefixes))] == [4, 0, 2]
    assert list(prefixes.take([2, 0]).blocks(1)) == [0, 14, 15, 16]
    assert prefixes.scaled(0.25).block_tokens == 128


@given(runs, runs)
def test_sharing_is_what_the_lists_have_in_common_from_the_start(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    prefixes = prefixes_of([one, other], 64)
    spelled = zip(prefixes.blocks(0), prefixes.blocks(1), strict=False)
    assert prefixes.shared(0, 1) == sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], spelled))
    assert prefixes.shared(0, 1) == prefixes.shared(1, 0)
    assert prefixes.shared(0, 0) == prefixes.size(0)


def test_the_block_size_follows_from_the_prompts() -> None:
    lines = ["[[1,1112]]\n", "[[1,1136]]\n", "[[1,9]]\n"]
    assert read_prefixes(lines, "h", prompts=[71175, 72762, 540]).block_tokens == 64
    assert read_prefixes(["[[0,14]]"], "h", prompts=[6758]).block_tokens == 512
    assert read_prefixes(["[[0,2]]"], "h", prompts=[1000]).block_tokens == 512
    assert read_prefixes(["[]"], "h", prompts=[5]).size(0) == 0


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        pytest.param(["[[0,1]]", "[[0,"], "h, line 2: is not JSON", id="json"),
        pytest.param(["[[0,1]]", "{}"], r"h, line 2: must be \[\[first id, at least 1 block\]", id="object"),
        pytest.param(["[[0,1]]", "[[0]]"], "h, line 2: must be", id="short-run"),
        pytest.param(["[[0,1]]", "[[0,0]]"], "h, line 2: must be", id="no-block"),
        pytest.param(["[[0,1]]", "[[-1,2]]"], "h, line 2: must be", id="negative"),
        pytest.param(["[[0,1]]", "[[0,1.5]]"], "h, line 2: must be", id="half-a-block"),
        pytest.param(
            ["[[0,1]]"], "h: must have one line for each of the 2 rows of its trace, got 1", id="lines"
        ),
    ],
)
def test_a_wrong_hash_file_is_named(lines: list[str], says: str) -> None:
    with pytest.raises(TableError, match=says):
        read_prefixes(lines, "h", prompts=[500, 500])


def test_a_block_has_a_size() -> None:
    with pytest.raises(ValueError, match="block_tokens must be above 0 and finite, got 0"):
        prefixes_of([], 0)


def test_hashes_beside_a_trace_follow_its_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("timestamp_s,input_tokens,output_tokens\n5,5000,1\n2,600,1\n")
    lines = "\n".join(map(json.dumps, [[[0, 10]], [[0, 1], [90, 1]]]))
    (tmp_path / "t.hashes.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    trace = load_trace(tmp_path / "t.csv")
    assert trace.prefixes is not None
    assert [list(trace.prefixes.blocks(i)) for i in range(2)] == [[0, 90], list(range(10))]
    assert trace.prefixes.block_tokens == 512
