"""Every form of profile by its path, and what cannot be told from it."""

import json
import os
from pathlib import Path

import pytest

from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import InvalidProfile, profile_document
from pdscale.perf.engine import Engine
from pdscale.perf.grid import GridModel
from pdscale.perf.place import DocumentError
from pdscale.perf.profile import Profile
from pdscale.perf.table import TableError
from pdscale.workload.load import UnknownEngine, load_fit, load_measured_replay, load_model, load_rates
from pdscale.workload.refit_builtin import main

H100 = BUILTIN["llama-3.1-8b-h100"]
ENGINE = Engine.of(H100)


def grid_text() -> str:
    rows = ["phase,batch_size,new_tokens,prefix_tokens,context_tokens,latency_ms"]
    rows += [
        f"prefill,1,{n},{h},,{1000 * H100.prefill_seconds(n, h):.9g}"
        for n in (16, 64, 200, 500, 900, 2000, 4000, 9000)
        for h in (0, 900, 5000, 9000)
    ]
    rows += [
        f"decode,{b},,,{c},{1000 * H100.step_seconds(b, b * c):.9g}"
        for b in (1, 8, 32, 64, 100, 200, 256)
        for c in (100, 1000, 4000, 8000)
    ]
    return "\n".join(rows) + "\n"


def written(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_grid_of_a_known_engine_brings_its_memory(tmp_path: Path) -> None:
    model = load_model(written(tmp_path, "grid_llama31_8b_h100_tp1.csv", grid_text()))
    assert isinstance(model, GridModel)
    assert model.kv_capacity == H100.kv_capacity
    assert model.step_seconds(32, 32_000) == pytest.approx(H100.step_seconds(32, 32_000))


def test_a_grid_of_another_engine_needs_one(tmp_path: Path) -> None:
    path = written(tmp_path, "mine.csv", grid_text())
    with pytest.raises(UnknownEngine, match=r"mine.csv: holds times alone, .* say which one it is"):
        load_model(path)
    assert load_model(path, engine=ENGINE).name == H100.name


def test_a_grid_can_be_fitted(tmp_path: Path) -> None:
    fit = load_fit(written(tmp_path, "grid_llama31_8b_h100_tp1.csv", grid_text()))
    assert [s.up_to for s in fit.profile.prefill] == [s.up_to for s in H100.prefill]
    assert fit.errors.decode is not None
    assert fit.errors.decode.largest < 1e-6


def test_iterations_are_fitted_and_chosen_by_entry(tmp_path: Path) -> None:
    rows = ["model,gpu,tp,batch_size,input_tokens,output_tokens,prefill_ms,decode_step_ms"]
    rows += [
        f"l,a,{tp},{b},{n},9,{tp + n * b * 0.01},{5 + b * 0.1}"
        for tp in (1, 2)
        for b in (1, 8)
        for n in (9, 99)
    ]
    path = written(tmp_path, "it.csv", "\n".join(rows))
    with pytest.raises(UnknownEngine, match=r"it.csv: entry must be one of l a TP1, l a TP2, got None"):
        load_model(path, engine=ENGINE)
    model = load_model(path, entry="l a TP2", engine=ENGINE)
    assert isinstance(model, Profile)
    assert model.prefill_seconds(0.0001) == pytest.approx(0.002, rel=1e-3)


def test_a_profile_document_is_read_as_it_is(tmp_path: Path) -> None:
    assert load_model(written(tmp_path, "own.json", profile_document(H100))) == H100
    with pytest.raises(InvalidProfile, match=r"own.json: profile.decode is missing"):
        load_model(written(tmp_path, "own.json", {}))


def test_other_documents_are_known_by_their_keys(tmp_path: Path) -> None:
    fits = written(tmp_path, "fits.json", {"engines": {}})
    with pytest.raises(UnknownEngine, match="entry must be one of , got None"):
        load_model(fits)
    with pytest.raises(DocumentError, match=r"presets.json, presets.p.max_num_seqs: is missing"):
        load_model(written(tmp_path, "presets.json", {"presets": {"p": {}}}), engine=ENGINE)
    with pytest.raises(DocumentError, match=r"d.json, fits.e.m: must be an object"):
        load_model(written(tmp_path, "d.json", {"fits": {"e": {"m": []}}}))
    points = {
        "max_kv_tokens": 1000,
        "prefill": {"input_tokens": [10, 20, 40], "ttft_ms": [1, 2, 4]},
        "decode": {"kv_usage": [0.1, 0.2, 0.4], "context_length": [9, 9, 9], "itl_ms": [1, 2, 4]},
    }
    dynamo = written(tmp_path, "y.json", points)
    assert load_model(dynamo, engine=ENGINE).prefill_seconds(30) == pytest.approx(0.003, rel=0.01)
    assert load_fit(dynamo, engine=ENGINE).profile.name == H100.name


def test_a_measured_replay_has_its_times_beside_its_requests(tmp_path: Path) -> None:
    head = "arrival_s,input_tokens,output_tokens,queue_s,ttft_s,e2e_s,tpot_ms\n"
    replay = load_measured_replay(
        written(tmp_path, "r.csv", head + "0,23,5,0,0.17,15,29\n1,9,5,0.1,0.2,9,30\n")
    )
    assert list(replay.trace.prompt) == [23, 9]
    assert list(replay.tpot) == pytest.approx([0.029, 0.030])
    assert (replay.ttft[0], replay.queue[1], replay.total[0]) == (0.17, 0.1, 15)
    with pytest.raises(
        TableError, match=r"r.csv, row 3, column arrival_s: must be at least 1, the arrival before"
    ):
        load_measured_replay(written(tmp_path, "r.csv", head + "1,23,5,0,0.17,15,29\n0,9,5,0.1,0.2,9,30\n"))


def test_rates_are_read_by_path(tmp_path: Path) -> None:
    path = written(tmp_path, "rates.csv", "timestamp_s,window_s,requests_per_s\n0,600,2\n")
    assert list(load_rates(path).rate) == [2]


def test_the_command_prints_pieces_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, "grid_llama31_8b_h100_tp1.csv", grid_text())
    (tmp_path / "grid_llama31_8b_h100_tp1.csv").rename(tmp_path / "grid_llama31_8b_h100_tp1.csv.gz")
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("llama-3.1-8b-h100: prefill ")
    assert "; decode 0.0% / 0.0%\n" in printed
    assert "(128, 6.76482, 4.4518, 0.772896)," in printed
    assert main([]) == 2


@pytest.mark.parametrize("variable", ["PDSCALE_TRACES", "PDSCALE_PROFILES"])
def test_every_published_file_is_read(variable: str) -> None:
    from pdscale.workload.load import load_trace

    folder = os.environ.get(variable, "")
    if not folder:
        pytest.skip(f"{variable} names no folder")
    if variable == "PDSCALE_TRACES":
        for path in sorted(Path(folder).glob("*.csv.gz")):
            if path.name.startswith("rates_"):
                assert len(load_rates(path)) > 0, path.name
            elif not path.name.startswith(("clients_", "lengths_")):
                assert len(load_trace(path)) > 0, path.name
    else:
        for path in sorted(Path(folder).glob("grid_*.csv.gz")):
            assert isinstance(load_model(path), GridModel), path.name
        for path in sorted(Path(folder).glob("replay_*.csv.gz")):
            assert len(load_measured_replay(path).trace) > 0, path.name
