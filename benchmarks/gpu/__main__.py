"""Times prefill, decode, appends beside decode and KV copies on a GPU, and says how well our model fits them.

Llama-3.1-8B's shape with random bf16 weights: of its 32 equal layers ``--layers`` are run and scaled to
all. Needs a Python with PyTorch and a CUDA device; without either it says that it was skipped, and that
is no failure.
"""

import argparse
import importlib.util
import sys
from typing import Any, Final

from benchmarks.gpu.figures import fitted, keep, rows_of
from benchmarks.gpu.shape import LLAMA_8B, Shape
from benchmarks.gpu.sweeps import measured
from benchmarks.rows import publish
from pdscale.perf.engine import Engine

NAME: Final = "gpu"
_USABLE: Final = 0.9  # of the memory, as engines take it
_FOR_KV: Final = 0.4  # of what is free, for the caches of one pass


def missing() -> str | None:
    """Why nothing can be measured here."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed in this Python"
    import torch

    return None if torch.cuda.is_available() else f"PyTorch {torch.__version__} sees no CUDA device"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--layers", type=int, default=4, metavar="N", help="layers that are run [4]")
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="of each pass [20]")
    parser.add_argument("--most-new", type=int, default=8192, metavar="N", help="longest prefill [8192]")
    flags = parser.parse_args()
    reason = missing()
    if reason is not None:
        print(f"bench {NAME}: skipped: {reason}")
        return 0
    _run(flags)
    return 0


def _run(flags: argparse.Namespace) -> None:
    import torch

    from benchmarks.gpu.torch_timing import StackTimes, copies

    device = torch.cuda.get_device_properties(0)
    config = (
        f"{device.name}, {LLAMA_8B.name} bf16, {flags.layers} of {LLAMA_8B.layers} layers run and scaled, "
        f"PyTorch {torch.__version__}"
    )
    passes = StackTimes(LLAMA_8B, timed=flags.layers, device="cuda", repeats=flags.repeats)
    free = torch.cuda.mem_get_info()[0]
    room = int(_FOR_KV * free / (flags.layers * LLAMA_8B.kv_bytes_of_layer))
    points = measured(passes, config, room=room, most_new=flags.most_new, tell=_tell)
    moved = copies(LLAMA_8B, device="cuda", repeats=flags.repeats)
    fit = fitted(points, engine_of(LLAMA_8B, device.total_memory, moved))
    for path in keep(fit, points, moved):
        print(f"wrote {path}")
    publish(NAME, rows_of(fit, points, moved, config))


def engine_of(shape: Shape, memory: int, moved: Any) -> Engine:
    """KV gets what weights leave. Its transfers are told from copies: to another GPU, or to the host."""
    from pdscale.perf.refit import fit_transfer

    fixed, bandwidth, _ = fit_transfer(moved.get("to another GPU") or moved["to host"])
    return Engine(
        name=f"{shape.name}-measured",
        kv_capacity=int((_USABLE * memory - shape.weight_bytes) / shape.kv_bytes_per_token),
        kv_bytes_per_token=shape.kv_bytes_per_token,
        transfer_bandwidth=bandwidth,
        transfer_fixed=max(0.0, fixed),
    )


def _tell(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}: {done + 1} of {total}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
