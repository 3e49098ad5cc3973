"""CSV forms of measurements: what they become, and what is wrong in one."""

import pytest

from pdscale.perf.measured_tables import (
    read_grid,
    read_iterations,
    read_measurements,
    read_prefill_sweep,
    read_transfers,
)
from pdscale.perf.measurements import DecodePoint, Measurements, MixedPoint, PrefillPoint, TransferPoint
from pdscale.perf.table import Table, TableError, read_table

GRID = "phase,batch_size,new_tokens,prefix_tokens,context_tokens,latency_ms\n"
ITERATIONS = "model,gpu,tp,batch_size,input_tokens,output_tokens,prefill_ms,decode_step_ms\n"


def table(text: str) -> Table:
    return read_table(text.splitlines(keepends=True), "m.csv")


def test_a_grid_has_points_of_each_phase() -> None:
    points = read_grid(table(GRID + "prefill,2,16,512,,7\ndecode,4,,,100,6\nmixed,8,256,0,1000,9\n"))
    (prefill,) = points.prefill
    assert (prefill.batch, prefill.new, prefill.history) == (2, 16, 512)
    assert prefill.seconds == pytest.approx(0.007)
    assert (prefill.tokens, prefill.pairs) == (32, 2 * 16 * 520)
    (decode,) = points.decode
    assert (decode.batch, decode.context) == (4, 400)
    assert decode.seconds == pytest.approx(0.006)
    # The chunk is of prompts 1000 long: its tokens look at 500 on average, 128 of them their own.
    (mixed,) = points.mixed
    assert (mixed.new, mixed.history, mixed.batch, mixed.context) == (256, 372, 8, 8000)


def test_iterations_are_told_apart_by_engine() -> None:
    rows = "llama,a100,2,4,128,64,24,8.5\nllama,a100,4,1,128,1,20,\nllama,a100,2,1,256,64,22,8\n"
    engines = read_iterations(table(ITERATIONS + rows))
    assert sorted(engines) == ["llama a100 TP2", "llama a100 TP4"]
    two = engines["llama a100 TP2"]
    assert [p.batch for p in two.prefill] == [4, 1]
    assert two.decode[0] == DecodePoint(4, 4 * (128 + 32), 8.5e-3)
    assert engines["llama a100 TP4"].decode == ()
    assert two.source == "m.csv (llama a100 TP2)"


def test_a_sweep_has_prefills_alone() -> None:
    points = read_prefill_sweep(table("input_tokens,prefill_ms\n16,30\n"))
    assert points.prefill == (PrefillPoint(1, 16, 0, 30 * 1e-3),)
    assert points.decode == ()


def test_transfers_are_told_apart_by_link() -> None:
    links = read_transfers(table("system,where,bytes,median_ms\nh100,across,2048,1\nh100,inside,10,2\n"))
    assert links == {
        "h100 across": (TransferPoint(2048, 1e-3),),
        "h100 inside": (TransferPoint(10, 2e-3),),
    }


def test_the_form_is_known_by_its_header() -> None:
    assert list(read_measurements(table(GRID + "decode,4,,,100,6\n"))) == ["m.csv"]
    assert list(read_measurements(table(ITERATIONS + "l,a,1,4,128,64,24,8\n"))) == ["l a TP1"]
    assert read_measurements(table("input_tokens,prefill_ms\n16,30\n"))["m.csv"].prefill
    with pytest.raises(TableError, match=r"m.csv, row 1: must be the header of a grid .* got a, b"):
        read_measurements(table("a,b\n1,2\n"))


def test_points_of_several_files_add_up() -> None:
    one = Measurements("a", prefill=(PrefillPoint(1, 2, 0, 1),), mixed=(MixedPoint(1, 0, 1, 1, 1),))
    other = Measurements("b", decode=(DecodePoint(1, 2, 1),))
    both = one + other
    assert (both.source, both.prefill, both.decode, both.mixed) == (
        "a, b",
        one.prefill,
        other.decode,
        one.mixed,
    )


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        pytest.param(
            "warmup,1,16,0,,7\n", "row 2, column phase: must be one of prefill, decode, mixed", id="phase"
        ),
        pytest.param(
            "decode,1,,,9,1\nprefill,1,,0,,7\n", "row 3, column new_tokens: must be given for", id="new"
        ),
        pytest.param("prefill,1,16,,,7\n", "row 2, column prefix_tokens: must be given for", id="prefix"),
        pytest.param(
            "decode,1,,,,7\n", "row 2, column context_tokens: must be given for phase dec", id="context"
        ),
        pytest.param("mixed,1,16,0,,7\n", "row 2, column context_tokens: must be given for", id="mixed"),
        pytest.param("decode,0,,,9,7\n", "row 2, column batch_size: must be in 1..", id="no-batch"),
        pytest.param(
            "decode,,,,9,7\n", "column batch_size: must be a whole number, got ''", id="batch-missing"
        ),
        pytest.param("decode,1,,,9,0\n", "row 2, column latency_ms: must be at least 1e-06", id="instant"),
        pytest.param("decode,1,,,9,fast\n", "column latency_ms: must be a number, got 'fast'", id="text"),
        pytest.param("decode,1,,,9\n", "row 2: must have 6 fields, got 5", id="short"),
    ],
)
def test_a_wrong_row_is_named(rows: str, says: str) -> None:
    with pytest.raises(TableError) as refused:
        read_grid(table(GRID + rows))
    assert str(refused.value).startswith("m.csv, ")
    assert says in str(refused.value)


@pytest.mark.parametrize("column", ["phase", "latency_ms", "prefix_tokens"])
def test_a_missing_column_is_named(column: str) -> None:
    header = ",".join(c for c in GRID.strip().split(",") if c != column)
    with pytest.raises(TableError, match=f"m.csv, row 1: column {column} is missing; there are: "):
        read_grid(table(header + "\n"))
