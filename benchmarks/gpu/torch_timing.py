"""Times of passes and of copies of KV on one device.

On a GPU a pass is captured as a CUDA graph and replayed, as engines do it for decode: launching single
kernels from Python would cost as much as a small pass itself. Events on the stream time the replays; the
median counts. On a CPU, where only tests run this, calls are timed by the clock.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from benchmarks.gpu.shape import Shape
from benchmarks.gpu.sweeps import Part
from benchmarks.gpu.torch_model import Stack
from pdscale.model.quantiles import quantile
from pdscale.perf.measurements import TransferPoint

_WARM: Final = 3
_BLOCK: Final = 16  # tokens of a KV block
_TOKENS: Final = (64, 256, 1024, 4096, 16384, 65536)


class StackTimes:
    """`sweeps.Passes` on a device: ``timed`` layers are run, and scaled to all of them."""

    def __init__(self, shape: Shape, *, timed: int, device: str, repeats: int) -> None:
        self._shape, self._timed, self._device, self._repeats = shape, timed, device, repeats
        dtype = torch.bfloat16 if device != "cpu" else torch.float32
        self._stack = Stack(shape, timed, device=device, dtype=dtype)

    @torch.inference_mode()
    def seconds(self, parts: Sequence[Part]) -> float:
        stack = self._stack
        x, caches, rotation = stack.hidden(parts), stack.caches(parts), stack.rotation(parts)
        tokens = stack.tokens(parts)
        layers = self._of(lambda: stack.through(x, parts, caches, rotation))
        ends = self._of(lambda: (stack.embedded(tokens), stack.head(x, parts)))
        return self._shape.whole(layers, ends, timed=self._timed)

    def _of(self, work: Callable[[], Any]) -> float:
        return median_seconds(work, device=self._device, repeats=self._repeats)


def median_seconds(work: Callable[[], Any], *, device: str, repeats: int) -> float:
    if device == "cpu":
        return _median([_by_clock(work) for _ in range(repeats)])
    replay = captured(work)
    return _median([_by_events(replay) for _ in range(repeats)])


def captured(work: Callable[[], Any]) -> Callable[[], Any]:
    """``work`` as a graph. It runs on a stream of its own first: libraries choose and set up kernels then."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    for _ in range(_WARM):
        graph.replay()
    return graph.replay


def _by_events(work: Callable[[], Any]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) * 1e-3


def _by_clock(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _median(seconds: Sequence[float]) -> float:
    return quantile(sorted(seconds), 0.5)


@torch.inference_mode()
def copies(shape: Shape, *, device: str, repeats: int) -> dict[str, list[TransferPoint]]:
    """KV of so many tokens: gathered by blocks on the device, to pinned host memory and back, and to a second
    GPU where there is one. A block holds 16 tokens' KV of all layers."""
    points: dict[str, list[TransferPoint]] = {}
    for tokens in _TOKENS:
        size = tokens * shape.kv_bytes_per_token
        if device != "cpu" and 4 * size > torch.cuda.mem_get_info()[0]:
            break
        for path, seconds in _copied(shape, tokens, device=device, repeats=repeats).items():
            points.setdefault(path, []).append(TransferPoint(float(size), seconds))
    return points


def _copied(shape: Shape, tokens: int, *, device: str, repeats: int) -> dict[str, float]:
    blocks = tokens // _BLOCK
    source = torch.zeros(blocks, _BLOCK * shape.kv_bytes_per_token, dtype=torch.uint8, device=device)
    order = torch.randperm(blocks, device=device)
    paths: dict[str, Callable[[], Any]] = {}
    gathered = torch.empty_like(source)
    paths["within the device"] = lambda: torch.index_select(source, 0, order, out=gathered)
    if device != "cpu":
        host = torch.empty(source.shape, dtype=torch.uint8, pin_memory=True)
        paths["to host"] = lambda: host.copy_(source, non_blocking=True)
        paths["from host"] = lambda: source.copy_(host, non_blocking=True)
        if torch.cuda.device_count() > 1:
            other = torch.empty_like(source, device="cuda:1")
            paths["to another GPU"] = lambda: other.copy_(source, non_blocking=True)
    timer = _by_clock if device == "cpu" else _by_events
    for work in paths.values():
        for _ in range(_WARM):
            work()
    return {path: _median([timer(work) for _ in range(repeats)]) for path, work in paths.items()}
