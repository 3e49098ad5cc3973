"""The GPU benchmark: what it does without a GPU, which passes it times, and what it makes of their times.

Where PyTorch can be imported, the model itself is checked on a CPU; nothing here needs a GPU.
"""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gpu import __main__ as program
from benchmarks.gpu import figures
from benchmarks.gpu.shape import LLAMA_8B, Shape
from benchmarks.gpu.sweeps import CONTEXTS, HISTORIES, NEW, Part, measured

from pdscale.perf.builtin import BUILTIN
from pdscale.perf.engine import Engine
from pdscale.perf.measurements import TransferPoint
from pdscale.perf.profile import Profile, Segment
from pdscale.workload.load import load_model

KNOWN = BUILTIN["llama-3.1-8b-h200"]
ROOT = Path(__file__).parents[2]
TINY = Shape("tiny", hidden=32, feed_forward=48, heads=4, kv_heads=2, head_size=8, layers=6, vocabulary=50)


class Clockwork:
    """Passes that take what a profile says, and a record of them."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.asked: list[tuple[Part, ...]] = []

    def seconds(self, parts: Sequence[Part]) -> float:
        self.asked.append(tuple(parts))
        steps = [p for p in parts if p.new == 1]
        return self.profile.iteration_seconds(
            [(p.new, p.history) for p in parts if p.new > 1],
            batch=sum(p.batch for p in steps),
            context=sum(p.cached for p in steps),
        )


def test_without_torch_it_says_in_one_line_that_it_was_skipped() -> None:
    blocked = (
        "import runpy, sys; sys.modules['torch'] = None; "
        "runpy.run_module('benchmarks.gpu', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked],
        cwd=ROOT,
        env={"PYTHONPATH": ":".join(str(ROOT / part) for part in ("operator", "forecaster", "."))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "bench gpu: skipped: PyTorch is not installed in this Python\n"


def test_torch_without_a_device_is_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind:
        __version__ = "9.9"
        __spec__ = "known"

        class cuda:
            @staticmethod
            def is_available() -> bool:
                return False

    monkeypatch.setitem(sys.modules, "torch", Blind)
    assert program.missing() == "PyTorch 9.9 sees no CUDA device"


def test_the_shape_is_that_of_llama_8b() -> None:
    assert LLAMA_8B.kv_bytes_per_token == 131072
    assert LLAMA_8B.weight_bytes == pytest.approx(2 * 8.03e9, rel=0.001)


def test_few_layers_stand_for_all_and_the_head_counts_once() -> None:
    assert LLAMA_8B.whole(0.004, 0.001, timed=4) == pytest.approx(0.033)
    assert LLAMA_8B.whole(0.032, 0.001, timed=32) == pytest.approx(0.033)
    with pytest.raises(ValueError, match="timed layers must be 1 to 32, got 33"):
        LLAMA_8B.whole(1.0, 0.0, timed=33)


def test_sweeps_cross_lengths_with_histories_and_batches_with_contexts() -> None:
    found = measured(Clockwork(KNOWN), "clockwork", room=10**9)
    assert {(p.new, p.history) for p in found.prefill} == {(n, h) for n in NEW for h in HISTORIES}
    assert {p.context / p.batch for p in found.decode} == set(CONTEXTS)
    assert {p.batch for p in found.mixed} == {8, 32, 128}
    assert {p.history for p in found.mixed} == {0, 4096, 32768}


def test_no_pass_holds_more_kv_than_there_is_room_for() -> None:
    passes = Clockwork(KNOWN)
    found = measured(passes, "clockwork", room=20_000, most_new=1024)
    assert max(sum(p.cached for p in parts) for parts in passes.asked) <= 20_000
    assert max(p.new for p in found.prefill) == 1024
    assert found.mixed
    assert max(p.new for p in found.mixed) == 512


def test_times_that_follow_the_model_are_fitted_without_error() -> None:
    straight = _straight()
    points = measured(Clockwork(straight), "clockwork", room=500_000)
    fit = figures.fitted(points, Engine.of(straight))
    rows = {row.metric: row.value for row in figures.rows_of(fit, points, {}, "here")}
    for kind in ("prefill", "decode", "mixed"):
        assert rows[f"fit error, {kind}, median"] == pytest.approx(0, abs=1e-6)
        assert rows[f"fit error, unseen points, {kind}, p90"] == pytest.approx(0, abs=1e-6)


def test_times_that_do_not_follow_it_are_reported_as_errors() -> None:
    straight = _straight()

    class Uneven(Clockwork):
        def seconds(self, parts: Sequence[Part]) -> float:
            return super().seconds(parts) * (1.3 if len(self.asked) % 2 else 1.0)

    points = measured(Uneven(straight), "clockwork", room=500_000)
    fit = figures.fitted(points, Engine.of(straight))
    rows = {row.metric: row.value for row in figures.rows_of(fit, points, {}, "here")}
    assert rows["fit error, prefill, median"] > 0.05
    assert rows["fit error, unseen points, decode, median"] > 0.05


def _straight() -> Profile:
    """One piece for all lengths, and one for all batches."""
    return Profile(
        name="straight",
        source="made up",
        prefill=(Segment(math.inf, 0.003, 2e-5, 1e-9),),
        decode=(Segment(math.inf, 0.004, 2e-5, 3e-8),),
        kv_capacity=1e6,
        kv_bytes_per_token=131072,
        transfer_bandwidth=1e9,
    )


def test_copies_are_told_by_path_with_their_bandwidth() -> None:
    moved = {"to host": [TransferPoint(s, 1e-4 + s / 50e9) for s in (1e6, 1e7, 1e8)]}
    points = measured(Clockwork(_straight()), "clockwork", room=100_000)
    fit = figures.fitted(points, program.engine_of(LLAMA_8B, 80 * 2**30, moved))
    rows = {row.metric: row.value for row in figures.rows_of(fit, points, moved, "here")}
    assert rows["KV copy to host"] == pytest.approx(50)
    assert rows["KV copy to host, fixed"] == pytest.approx(100)
    assert fit.profile.transfer_bandwidth == pytest.approx(50e9)
    assert fit.profile.kv_capacity == pytest.approx((0.9 * 80 * 2**30 - 2 * 8.03e9) / 131072, rel=0.001)


def test_points_and_profile_are_kept_in_files_that_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "FOLDER", tmp_path / "gpu")
    points = measured(Clockwork(_straight()), "clockwork", room=100_000)
    fit = figures.fitted(points, Engine.of(_straight()))
    moved = {"to host": [TransferPoint(1e6, 1e-3)]}
    measured_file, profile_file = figures.keep(fit, points, moved)
    body: dict[str, Any] = json.loads(measured_file.read_text())
    assert len(body["prefill"]) == len(points.prefill)
    assert body["copies"]["to host"] == [{"size": 1e6, "seconds": 1e-3}]
    assert load_model(profile_file) == fit.profile


def test_cached_attention_is_that_of_the_whole_sequence() -> None:
    """A prompt in two passes ends with the hidden states that it has in one; a decode step likewise."""
    torch = pytest.importorskip("torch")
    from benchmarks.gpu.torch_model import Stack

    stack = Stack(TINY, 2, device="cpu", dtype=torch.float32)
    x = torch.randn(2 * 7, TINY.hidden)

    def run(rows: Any, part: Part, caches: Any) -> Any:
        return stack.through(rows, [part], caches, stack.rotation([part])).view(part.batch, part.new, -1)

    with torch.inference_mode():
        at_once = Part(2, 7, 0)
        whole_caches = stack.caches([at_once])
        whole = run(x, at_once, whole_caches)
        for new in (1, 3):
            tail = Part(2, new, 7 - new)
            caches = stack.caches([tail])
            for mine, theirs in zip(caches, whole_caches, strict=True):
                mine[0].keys[:, :, : tail.history] = theirs[0].keys[:, :, : tail.history]
                mine[0].values[:, :, : tail.history] = theirs[0].values[:, :, : tail.history]
            rows = x.view(2, 7, -1)[:, -new:].reshape(2 * new, -1)
            torch.testing.assert_close(run(rows, tail, caches), whole[:, -new:], atol=1e-4, rtol=1e-4)


def test_passes_and_copies_are_timed_on_a_cpu() -> None:
    pytest.importorskip("torch")
    from benchmarks.gpu.torch_timing import StackTimes, copies

    passes = StackTimes(TINY, timed=2, device="cpu", repeats=3)
    assert passes.seconds([Part(1, 4, 3), Part(2, 1, 5)]) > 0
    moved = copies(TINY, device="cpu", repeats=3)
    assert [p.size for p in moved["within the device"]][:2] == [64 * 384, 256 * 384]
