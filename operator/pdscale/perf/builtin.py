"""Profiles of common model and GPU pairs, with their source.

The ``AIC`` rows are fits to AIConfigurator 0.12.0 grids (NVIDIA, Apache-2.0), which sum operator times
measured on that GPU under vLLM; `python -m pdscale.workload.refit_builtin FOLDER` repeats them. Their
errors are median / P90 of the absolute relative error over a fifth of the points held out (prefill,
decode), and over mixed steps, which follow from the other two. They hold GPU time only: a served request
takes about 1.15 times as long plus 10 ms (Dynamo's measured H200 worker against the same grid). KV
capacities are estimates from memory size. Transfer bandwidth assumes 200 Gb/s of network per GPU.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pdscale.perf.profile import Profile, Segment

_AIC: Final = "AIConfigurator 0.12.0 grid, vLLM"
_NIC: Final = 25e9  # bytes/s: 200 Gb/s per GPU


def _pieces(*rows: tuple[float, float, float, float]) -> tuple[Segment, ...]:
    """(up to, fixed ms, us per item, ns per pair) -> segments in seconds."""
    return tuple(Segment(u, a * 1e-3, b * 1e-6, c * 1e-9) for u, a, b, c in rows)


_PROFILES: Final = (
    Profile(
        name="llama-3.1-8b-h100",
        source=f"{_AIC}, bf16, TP1; prefill 1.6% / 3.8%; decode 2.0% / 4.8%; mixed 2.5% / 7.7%",
        prefill=_pieces(
            (128, 6.76482, 4.4518, 0.772896),
            (1024, 4.02963, 16.4231, 0.795861),
            (math.inf, -0.882592, 20.8149, 0.816078),
        ),
        decode=_pieces(
            (64, 6.39489, 8.35918, 44.3551),
            (math.inf, 5.77092, 14.8118, 40.0362),
        ),
        kv_capacity=403900,
        kv_bytes_per_token=131072,
        transfer_bandwidth=1 * _NIC,
    ),
    Profile(
        name="llama-3.1-8b-a100",
        source=f"{_AIC}, bf16, TP1; prefill 0.3% / 1.3%; decode 1.7% / 7.3%; mixed 1.0% / 3.8%",
        prefill=_pieces(
            (128, 11.2072, 23.1353, 2.91177),
            (1024, 8.33919, 52.8864, 2.93137),
            (math.inf, 4.24212, 56.039, 2.96637),
        ),
        decode=_pieces(
            (64, 11.7424, 20.1806, 82.4147),
            (math.inf, 9.71581, 52.0546, 78.386),
        ),
        kv_capacity=403900,
        kv_bytes_per_token=131072,
        transfer_bandwidth=1 * _NIC,
    ),
    Profile(
        name="llama-3.1-8b-h200",
        source=f"{_AIC}, bf16, TP1; prefill 1.3% / 3.4%; decode 1.8% / 3.6%; mixed 2.0% / 7.2%",
        prefill=_pieces(
            (128, 5.17062, 4.67925, 0.782697),
            (1024, 2.62596, 17.4963, 0.808325),
            (math.inf, -1.8629, 21.0989, 0.831737),
        ),
        decode=_pieces(
            (64, 4.97285, 8.09043, 30.7634),
            (math.inf, 4.10488, 17.5875, 29.0081),
        ),
        kv_capacity=822753,
        kv_bytes_per_token=131072,
        transfer_bandwidth=1 * _NIC,
    ),
    Profile(
        name="llama-3.1-8b-fp8-h200",
        source=f"{_AIC}, fp8 weights, bf16 KV and attention, TP1; prefill 2.5% / 5.1%; decode 2.6% / 10.5%; mixed 18.0% / 35.1%",
        prefill=_pieces(
            (128, 3.8555, 5.94565, 0.779647),
            (1024, 3.40069, 10.8608, 0.81645),
            (math.inf, 2.14762, 12.732, 0.83285),
        ),
        decode=_pieces(
            (64, 3.75123, 8.7552, 30.9311),
            (math.inf, 3.22914, 18.3787, 29.263),
        ),
        kv_capacity=884017,
        kv_bytes_per_token=131072,
        transfer_bandwidth=1 * _NIC,
    ),
    Profile(
        name="llama-3.1-8b-rtxpro6000",
        source=f"{_AIC}, bf16, TP1; prefill 0.6% / 1.8%; decode 1.8% / 4.2%; mixed 3.3% / 9.6%",
        prefill=_pieces(
            (128, 11.0301, 15.7273, 1.69929),
            (1024, 6.64204, 36.732, 1.71741),
            (math.inf, 5.56591, 38.6458, 1.73482),
        ),
        decode=_pieces(
            (64, 10.9355, 7.44061, 88.3187),
            (math.inf, 8.34793, 33.7534, 89.2638),
        ),
        kv_capacity=513763,
        kv_bytes_per_token=131072,
        transfer_bandwidth=1 * _NIC,
    ),
    Profile(
        name="llama-3.1-70b-h100-tp4",
        source=f"{_AIC}, bf16, TP4; prefill 1.0% / 3.0%; decode 1.2% / 3.0%; mixed 2.1% / 5.5%",
        prefill=_pieces(
            (128, 15.8205, 27.1463, 0.928682),
            (1024, 8.93916, 55.2356, 0.97648),
            (math.inf, 1.35153, 62.6419, 0.994327),
        ),
        decode=_pieces(
            (64, 15.1532, 32.4866, 28.0651),
            (math.inf, 13.4432, 43.9715, 26.808),
        ),
        kv_capacity=411682,
        kv_bytes_per_token=327680,
        transfer_bandwidth=4 * _NIC,
    ),
    Profile(
        name="llama-3.1-70b-h100-tp8",
        source=f"{_AIC}, bf16, TP8; prefill 1.2% / 2.5%; decode 2.1% / 6.1%; mixed 2.5% / 8.1%",
        prefill=_pieces(
            (128, 10.6378, 18.6688, 0.441832),
            (1024, 6.77981, 37.3708, 0.488192),
            (math.inf, 7.08333, 38.2576, 0.499752),
        ),
        decode=_pieces(
            (64, 9.96508, 27.7211, 13.7701),
            (math.inf, 8.64711, 35.0672, 13.5215),
        ),
        kv_capacity=1253967,
        kv_bytes_per_token=327680,
        transfer_bandwidth=8 * _NIC,
    ),
    Profile(
        name="llama-3.1-70b-fp8-h100-tp4",
        source=f"{_AIC}, fp8 weights, bf16 KV and attention, TP4; prefill 1.7% / 3.9%; decode 3.4% / 9.3%; mixed 11.1% / 28.3%",
        prefill=_pieces(
            (128, 11.1895, 31.3642, 0.924209),
            (1024, 8.0752, 45.9314, 0.99059),
            (math.inf, 17.9488, 44.3868, 0.992597),
        ),
        decode=_pieces(
            (64, 10.7075, 33.2689, 27.3902),
            (math.inf, 9.27701, 51.3472, 26.8546),
        ),
        kv_capacity=626983,
        kv_bytes_per_token=327680,
        transfer_bandwidth=4 * _NIC,
    ),
    Profile(
        name="llama-3.1-70b-a100-tp8",
        source=f"{_AIC}, bf16, TP8; prefill 0.7% / 3.7%; decode 2.6% / 6.9%; mixed 1.0% / 8.2%",
        prefill=_pieces(
            (128, 17.8999, 52.4731, 1.76748),
            (1024, 6.29019, 119.885, 1.80382),
            (math.inf, 30.5696, 91.8057, 1.85185),
        ),
        decode=_pieces(
            (64, 17.6818, 51.1657, 26.8304),
            (math.inf, 14.4145, 94.0167, 28.3722),
        ),
        kv_capacity=1253967,
        kv_bytes_per_token=327680,
        transfer_bandwidth=8 * _NIC,
    ),
    Profile(
        name="qwen3-32b-h100-tp2",
        source=f"{_AIC}, bf16, TP2; prefill 1.1% / 2.6%; decode 1.4% / 3.5%; mixed 2.2% / 11.7%",
        prefill=_pieces(
            (128, 16.3691, 15.9706, 1.56258),
            (1024, 9.6859, 42.1039, 1.60392),
            (math.inf, 0.867577, 51.0818, 1.62659),
        ),
        decode=_pieces(
            (64, 13.4678, 35.7125, 44.3657),
            (math.inf, 12.425, 30.9615, 42.1148),
        ),
        kv_capacity=276565,
        kv_bytes_per_token=262144,
        transfer_bandwidth=2 * _NIC,
    ),
    Profile(
        name="qwen3-32b-h100-tp4",
        source=f"{_AIC}, bf16, TP4; prefill 1.0% / 2.9%; decode 1.4% / 3.3%; mixed 2.9% / 11.3%",
        prefill=_pieces(
            (128, 10.9734, 9.55961, 0.742593),
            (1024, 8.16746, 26.1041, 0.778137),
            (math.inf, 3.78789, 29.9962, 0.796872),
        ),
        decode=_pieces(
            (64, 8.24975, 25.6329, 21.8258),
            (math.inf, 7.41307, 24.8591, 21.3125),
        ),
        kv_capacity=802993,
        kv_bytes_per_token=262144,
        transfer_bandwidth=4 * _NIC,
    ),
    Profile(
        name="llama-3.1-8b-fp8-h200-dynamo",
        source="Dynamo planner sample profile (measured worker); prefill 1.8% / 7.4%, decode 2.8% / 22.9% of its points",
        prefill=_pieces((math.inf, 18.6, 14.1, 0.98)),
        decode=_pieces((math.inf, 4.38, 24, 31.6)),
        kv_capacity=870_000,
        kv_bytes_per_token=131072,
        transfer_bandwidth=_NIC,
    ),
    Profile(
        name="llama-2-70b-a100-tp8-2023",
        source="splitwise-sim medians (MIT), engine of 2023; context slope and bandwidth are estimates; prefill 13.9% / 44.2%, decode 3.2% / 6.2% of its points",
        prefill=_pieces((math.inf, 45, 115, 16)),
        decode=_pieces((math.inf, 43, 450, 26)),
        kv_capacity=1_200_000,
        kv_bytes_per_token=327680,
        transfer_bandwidth=4 * _NIC,
    ),
)

BUILTIN: Final[Mapping[str, Profile]] = MappingProxyType({p.name: p for p in _PROFILES})

# The profile whose engine a grid was made for, by the name the grid's file carries.
GRIDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "llama31_8b_h100_tp1": "llama-3.1-8b-h100",
        "llama31_8b_a100_tp1": "llama-3.1-8b-a100",
        "llama31_8b_h200_tp1": "llama-3.1-8b-h200",
        "llama31_8b_h200_tp1_fp8w": "llama-3.1-8b-fp8-h200",
        "llama31_8b_rtxpro6000_tp1": "llama-3.1-8b-rtxpro6000",
        "llama31_70b_h100_tp4": "llama-3.1-70b-h100-tp4",
        "llama31_70b_h100_tp8": "llama-3.1-70b-h100-tp8",
        "llama31_70b_h100_tp4_fp8w": "llama-3.1-70b-fp8-h100-tp4",
        "llama31_70b_a100_tp8": "llama-3.1-70b-a100-tp8",
        "qwen3_32b_h100_tp2": "qwen3-32b-h100-tp2",
        "qwen3_32b_h100_tp4": "qwen3-32b-h100-tp4",
    }
)
