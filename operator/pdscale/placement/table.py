"""Local or remote by a table over increment and history, as PPD does it (arXiv 2603.13358, score S).

First rounds always go remote; a later round is local where

    S = w_ttft * (T_remote - T_local) / T_remote - w_tpot * stall / (answer * step)  >  0

PPD measures both terms on a grid of real runs, binned by context, by input and output length and by rate.
Ours come from the profile, at idle queues and one reference load of the decode replica: 32 streams of 4096
tokens whose answers have 200 tokens, which is about what conversations look like (mean answer 211). A table
knows no queues, so it stands for everything that can be decided offline; PPD's authors call AMPD's online
estimate the natural complement.
"""

import math
import random
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.units import Seconds, Tokens
from pdscale.perf.profile import Profile
from pdscale.placement.passes import prefill_among_streams
from pdscale.placement.policy import Placement, PlacementReason, Round, local
from pdscale.placement.shortest import ShortestQueue

_INCREMENTS: Final = (128.0, 512.0, 2048.0, 8192.0, 32768.0, math.inf)
_HISTORIES: Final = (512.0, 4096.0, 16384.0, 65536.0, math.inf)
_STREAMS: Final = 32
_CONTEXT: Final[Tokens] = 4096.0
_ANSWER: Final[Tokens] = 200.0


@dataclass(frozen=True, slots=True)
class Table:
    """``remote[i][h]`` for increments up to ``increments[i]`` after histories up to ``histories[h]``."""

    increments: tuple[float, ...]
    histories: tuple[float, ...]
    remote: tuple[tuple[bool, ...], ...]
    _queue: ShortestQueue = field(default_factory=ShortestQueue, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("increments", "histories"):
            edges = getattr(self, name)
            if not edges or edges[-1] != math.inf or list(edges) != sorted(set(edges)) or edges[0] <= 0:
                raise ValueError(f"table.{name} must rise from above 0 to an open end, got {edges}")
        shape = [len(row) for row in self.remote]
        if shape != [len(self.histories)] * len(self.increments):
            raise ValueError(
                f"table.remote must have {len(self.increments)} rows of {len(self.histories)}, "
                f"got rows of {shape}"
            )

    def place(
        self,
        request: Round,
        view: ClusterView,
        decode: Endpoint,
        *,
        now: Seconds,
        rng: random.Random,
    ) -> Placement:
        if request.history == 0:
            return self._queue.send(request, view, decode, PlacementReason.FIRST_ROUND, now=now, rng=rng)
        row = self.remote[bisect_left(self.increments, request.increment)]
        if row[bisect_left(self.histories, request.history)]:
            return self._queue.send(request, view, decode, PlacementReason.TABLE, now=now, rng=rng)
        return local(decode, PlacementReason.TABLE)


def table_of(profile: Profile, *, ttft_weight: float = 1.0, tpot_weight: float = 1.0) -> Table:
    """The default table. PPD found 95, 50 and 20 % local at a ``tpot_weight`` of 1, 3 and 6."""

    def remote(new: Tokens, history: Tokens) -> bool:
        context = _STREAMS * _CONTEXT
        step = profile.step_seconds(_STREAMS, context)
        near = prefill_among_streams(profile, new, history, streams=_STREAMS, context=context)
        moved = profile.transfer_seconds(history) + profile.transfer_seconds(new)
        far = moved + profile.prefill_seconds(new, history) + step
        gain, loss = (far - near.seconds) / far, near.stall / (_ANSWER * step)
        return ttft_weight * gain <= tpot_weight * loss

    cells = tuple(tuple(remote(n, h) for h in _middles(_HISTORIES)) for n in _middles(_INCREMENTS))
    return Table(_INCREMENTS, _HISTORIES, cells)


def read_table(document: Mapping[str, Any]) -> Table:
    """``{"incrementUpTo": [512], "historyUpTo": [4096], "remote": [[false, false], [true, false]]}``:
    edges without the open end, one row more than there are of them."""
    try:
        increments, histories, rows = (document[k] for k in ("incrementUpTo", "historyUpTo", "remote"))
        edges = [(*(float(edge) for edge in given), math.inf) for given in (increments, histories)]
        cells = tuple(tuple(row) for row in rows)
    except (KeyError, TypeError) as error:
        raise ValueError(f"table must have lists incrementUpTo, historyUpTo and remote: {error!r}") from error
    if not all(isinstance(cell, bool) for row in cells for cell in row):
        raise ValueError(f"table.remote must hold true and false only, got {rows}")
    return Table(edges[0], edges[1], cells)


def _middles(edges: tuple[float, ...]) -> list[float]:
    """Where each bucket is judged: its geometric middle; the open one at twice its lower edge."""
    lows = (edges[0] / 4, *edges[:-1])
    return [
        low * 2 if high == math.inf else math.sqrt(low * high) for low, high in zip(lows, edges, strict=True)
    ]
