"""What scaling rules see, made by hand."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Role
from pdscale.model.workload import NoData
from pdscale.scaling.history import History
from pdscale.scaling.rivals.sighting import Limits
from pdscale_forecaster import Series

STEP = 15.0
WIDE = Limits(Bounds(1, 20), Bounds(1, 20), GpusPerReplica(1, 1), 40)


def history(
    *, rate: float = 10.0, prompt: float = 1000.0, output: float = 100.0, rates: tuple[float, ...] = ()
) -> History:
    """Requests alike, nothing cached, for 300 s at one rate or along ``rates``."""
    arrivals = rates or (rate,) * 20

    def series(each: float) -> Series:
        return Series(0.0, STEP, tuple(r * each for r in arrivals))

    return History(
        request_rate=series(1),
        completed=series(1),
        prompt_tokens=series(prompt),
        uncached_tokens=series(prompt),
        uncached_tokens_squared=series(prompt**2),
        output_tokens=series(output),
        output_tokens_squared=series(output**2),
        local_share=series(0),
        decode_streams=Series(0.0, STEP, (math.nan,) * len(arrivals)),
    )


@dataclass(frozen=True)
class Glimpse:
    prefill: PoolState
    decode: PoolState
    view: ClusterView
    busy: Mapping[Role, float]
    past: Callable[[float], History | NoData] = field(default=lambda _: NoData("nothing yet"))


def glimpse(
    prefill: int,
    decode: int,
    *,
    busy: float = 0.0,
    prefill_load: Load | None = None,
    decode_load: Load | None = None,
    past: History | None = None,
) -> Glimpse:
    """All replicas ready and alike."""
    endpoints = [Endpoint(f"p{i}", "", Role.PREFILL, load=prefill_load or Load()) for i in range(prefill)]
    endpoints += [Endpoint(f"d{i}", "", Role.DECODE, load=decode_load or Load()) for i in range(decode)]
    known = NoData("nothing yet") if past is None else past
    return Glimpse(
        PoolState(prefill, prefill),
        PoolState(decode, decode),
        ClusterView(tuple(endpoints)),
        {Role.PREFILL: busy, Role.DECODE: 1.0},
        lambda _: known,
    )
