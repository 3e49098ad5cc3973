import gzip
from pathlib import Path

import pytest

from pdscale_e2e.replay.trace import Request, TraceError, load, published, shaped

HEAD = "timestamp_s,session_id,input_tokens,output_tokens\n"


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_a_trace_starts_at_zero_and_is_in_order(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, HEAD + "12,,7,3\n10.5,,5,2\n", name)
    assert load(path) == [Request(0.0, 5, 2), Request(1.5, 7, 3)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "timestamp_s,input_tokens\n1,2\n", "row 1: column output_tokens is missing", id="column"
        ),
        pytest.param(
            HEAD + "0,,5,2\nsoon,,5,2\n", "row 3, column timestamp_s: must be a number, got 'soon'", id="text"
        ),
        pytest.param(
            HEAD + "0,,nan,2\n", "row 2, column input_tokens: must be a whole number, got 'nan'", id="nan"
        ),
        pytest.param(
            HEAD + "0,,5,0\n",
            "row 2, column output_tokens: must be in 1..9007199254740992, got '0'",
            id="zero",
        ),
        pytest.param(HEAD + "0,,5\n", "row 2: must have 4 fields, got 3", id="short-row"),
        pytest.param(HEAD, "holds no request", id="empty"),
        pytest.param("", "row 1: column timestamp_s is missing", id="no-head"),
    ],
)
def test_a_bad_row_is_named_by_file_row_and_column(tmp_path: Path, text: str, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(TraceError) as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert says in str(refused.value)


@pytest.mark.parametrize("content", [b"\x1f\x8b broken", b"\xff\xfe\x00"])
def test_a_file_that_is_no_csv_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(content)
    with pytest.raises(TraceError, match="cannot be read"):
        load(path)


def test_shaping_keeps_the_rate_and_shortens_the_span() -> None:
    hour = [Request(i * 0.25, 10, 10) for i in range(14_400)]
    short = shaped(hour, seconds=200, seed=3)
    assert short[-1].at <= 200
    assert len(short) / 200 == pytest.approx(4.0, rel=0.1)
    assert short == shaped(hour, seconds=200, seed=3)
    assert shaped(hour[:100], seconds=200, seed=3) == hour[:100]  # already short enough


def test_the_generator_has_the_published_rate_and_lengths() -> None:
    made = published(seed=1)
    # Published for the trace: 19 366 requests, mean input 1155 and output 211 tokens.
    assert len(made) == pytest.approx(19_366, rel=0.01)
    assert sum(r.input_tokens for r in made) / len(made) == pytest.approx(1155, rel=0.1)
    assert sum(r.output_tokens for r in made) / len(made) == pytest.approx(211, rel=0.1)
