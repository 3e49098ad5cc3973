"""Request tables become traces, and what is wrong in one is named by file, row, column and value."""

import gzip
import math
from pathlib import Path

import pytest

from pdscale.perf.table import TableError, read_table
from pdscale.workload.files import UnreadableFile, read_csv, read_json, read_lines
from pdscale.workload.load import load_trace
from pdscale.workload.request_table import read_requests
from pdscale.workload.trace import KINDS, UNKNOWN, TimeBase, Trace, open_trace

HEAD = (
    "timestamp_s,session_id,round_index,input_tokens,cached_tokens,new_tokens,output_tokens,"
    "think_s,tool_wait_s,kind\n"
)


def parsed(rows: str, head: str = HEAD) -> Trace:
    return read_requests(read_table((head + rows).splitlines(keepends=True), "t.csv"))


def test_columns_are_typed_and_rows_in_order_of_arrival() -> None:
    trace = parsed("12,b,1,70,64,6,9,,2.5,tool_result\n10.5,a,0,50,0,50,3,,,root\n")
    assert list(trace.at) == [0.0, 1.5]
    assert list(trace.prompt) == [50, 70]
    assert list(trace.cached) == [0, 64]
    assert list(trace.output) == [3, 9]
    assert [trace.sessions[s] for s in trace.session] == ["a", "b"]
    assert [KINDS[k] for k in trace.kind] == ["root", "tool_result"]
    assert math.isnan(trace.tool[0])
    assert trace.tool[1] == 2.5
    assert (trace.time_base, trace.span) == (TimeBase.TRACE, 1.5)


def test_what_a_source_does_not_know_is_unknown_and_not_zero() -> None:
    trace = parsed("1,,,374,,,44,,,\n2,,,10,,,0,,,\n")
    for column in (trace.session, trace.round, trace.cached, trace.kind):
        assert list(column) == [UNKNOWN, UNKNOWN]
    assert all(map(math.isnan, (*trace.think, *trace.tool)))
    assert list(trace.output) == [44, 0]
    assert [rows for _, rows in trace.rows_by_session()] == [[0], [1]]


def test_new_tokens_alone_tell_what_was_cached() -> None:
    assert list(parsed("1,a,0,50,,20,3,,,root\n").cached) == [30]


@pytest.mark.parametrize(
    ("rows", "base"),
    [
        pytest.param(
            "0,a,0,5,0,5,1,,,\n9,a,1,6,5,1,1,,,\n0,b,0,5,0,5,1,,,\n", TimeBase.SESSION, id="all-at-0"
        ),
        pytest.param("0,a,0,5,0,5,1,,,\n3,b,0,5,0,5,1,,,\n", TimeBase.TRACE, id="one-later"),
        pytest.param("0,a,0,5,0,5,1,,,\n3,a,1,6,5,1,1,,,\n", TimeBase.TRACE, id="one-session"),
        pytest.param(",a,0,5,0,5,1,,,\n,b,0,5,0,5,1,,,\n", TimeBase.NONE, id="no-times"),
    ],
)
def test_what_times_count_from_is_inferred(rows: str, base: TimeBase) -> None:
    assert parsed(rows).time_base is base


def test_sessions_know_who_started_them() -> None:
    head = "timestamp_s,session_id,input_tokens,output_tokens,parent_session_id\n"
    trace = parsed("0,a,5,1,\n4,b,5,1,a\n9,c,5,1,b\n", head)
    assert trace.parents == (UNKNOWN, 0, 1)
    assert trace.top_level(2) == 0
    assert list(trace.round) == [0, 0, 0]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param(
            "soon,a,0,5,0,5,1,,,\n", "row 2, column timestamp_s: must be a number, got 'soon'", id="text"
        ),
        pytest.param(
            "0,a,0,5,0,5,1,,,\n-1,a,0,5,0,5,1,,,\n",
            "row 3, column timestamp_s: must be at least 0 and finite, got '-1'",
            id="negative",
        ),
        pytest.param(
            "inf,a,0,5,0,5,1,,,\n",
            "column timestamp_s: must be at least 0 and finite, got 'inf'",
            id="infinite",
        ),
        pytest.param(
            "0,a,0,5,0,5,1,,,\n,a,1,5,0,5,1,,,\n",
            "row 3, column timestamp_s: must be given where other rows have one, got ''",
            id="time-missing",
        ),
        pytest.param(
            "0,a,0,nan,0,5,1,,,\n", "row 2, column input_tokens: must be a whole number, got 'nan'", id="nan"
        ),
        pytest.param(
            "0,a,0,0,0,0,1,,,\n",
            f"row 2, column input_tokens: must be in 1..{2**53}, got '0'",
            id="empty-prompt",
        ),
        pytest.param(
            "0,a,0,,0,5,1,,,\n",
            "row 2, column input_tokens: must be a whole number, got ''",
            id="prompt-missing",
        ),
        pytest.param(
            "0,a,0,5,0,5,1.5,,,\n",
            "column output_tokens: must be a whole number, got '1.5'",
            id="half-a-token",
        ),
        pytest.param(
            "0,a,0,5,0,5,1e99,,,\n", f"column output_tokens: must be in 0..{2**53}, got '1e99'", id="huge"
        ),
        pytest.param(
            "0,a,0,5,6,,1,,,\n",
            "row 2, column cached_tokens: must be at most input_tokens, 5, got '6'",
            id="cached",
        ),
        pytest.param(
            "0,a,0,5,2,4,1,,,\n",
            "row 2, column new_tokens: must be input_tokens less cached_tokens, 3, got '4'",
            id="sum",
        ),
        pytest.param(
            "0,a,0,5,,9,1,,,\n",
            "row 2, column new_tokens: must be at most input_tokens, 5, got '9'",
            id="new",
        ),
        pytest.param("0,a,0,5,0,5,1,x,,\n", "row 2, column think_s: must be a number, got 'x'", id="wait"),
        pytest.param(
            "0,a,0,5,0,5,1,,,rooot\n", "row 2, column kind: must be one of root, continuation", id="kind"
        ),
        pytest.param(
            "0,a,-1,5,0,5,1,,,\n", f"row 2, column round_index: must be in 0..{2**53}, got '-1'", id="round"
        ),
        pytest.param("0,a,0,5,0\n", "row 2: must have 10 fields, got 5", id="short-row"),
        pytest.param("0,a,0,5,0,5,1,,,,\n", "row 2: must have 10 fields, got 11", id="long-row"),
        pytest.param("\n0,a,0,5,0,5,1,,,\n", "row 2: must have 10 fields, got 0", id="blank-row"),
        pytest.param('0,"a,0,5,0,5,1,,,\n', "line 2: cannot be read as CSV", id="open-quote"),
        pytest.param("", "holds no request", id="no-rows"),
    ],
)
def test_a_wrong_value_is_named_by_file_row_and_column(rows: str, says: str) -> None:
    with pytest.raises(TableError) as refused:
        parsed(rows)
    assert str(refused.value).startswith("t.csv")
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        pytest.param("", "row 1: column timestamp_s is missing; there are: none", id="empty-file"),
        pytest.param(
            "timestamp_s,input_tokens\n",
            "row 1: column output_tokens is missing; there are: timestamp_s",
            id="missing",
        ),
        pytest.param(
            "timestamp_s,timestamp_s\n", "row 1: column timestamp_s stands there 2 times", id="twice"
        ),
    ],
)
def test_a_wrong_header_is_named(head: str, says: str) -> None:
    with pytest.raises(TableError, match=says):
        parsed("", head)


def test_a_parent_must_be_another_session() -> None:
    head = "timestamp_s,session_id,input_tokens,output_tokens,parent_session_id\n"
    with pytest.raises(
        TableError, match="row 2, column parent_session_id: must be the session_id of another"
    ):
        parsed("0,a,5,1,a\n", head)
    trace = parsed("0,a,5,1,b\n1,b,5,1,a\n", head)
    with pytest.raises(ValueError, match="session a descends from itself"):
        trace.top_level(0)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_files_are_read_plain_or_packed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    text = (HEAD + "0,,,5,,,2,,,\n").encode()
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert list(load_trace(path).prompt) == [5]


@pytest.mark.parametrize("content", [b"\x1f\x8b broken", b"\xff\xfe\x00", None])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "t.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"t.csv: cannot be read"):
        read_csv(path)


def test_a_document_that_is_no_json_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"a": 1,\n oops}')
    with pytest.raises(UnreadableFile, match=r"p.json, line 2, column 2: is not JSON"):
        read_json(path)
    assert read_lines(path) == ['{"a": 1,\n', " oops}"]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="column prompt must have 2 rows, got 1"):
        open_trace("t", [0.0, 1.0], [5], [1, 1])
