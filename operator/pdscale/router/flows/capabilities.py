"""What this sidecar has learned of its engine: whether sessions' history moves, and so how to speak to it.

An engine that hands nothing out, as vLLM before 0.33 in streams, would pin a local round's blocks for a later
fetch that never comes. So once that is known, local rounds are sent plain; a remote round still asks, and one
that is answered brings the flags back.

A connector without ``bidirectional_kv_xfer`` takes a local round for a prefill leg and hands out parameters,
which prefill engines then pass over. So what a local round brings counts for nothing once a decode leg, which
such a connector never answers, has come back with empty hands.
"""

import logging
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pdscale.engines.capability import Capability
from pdscale.engines.dialects import VLLM, Dialect
from pdscale.router.flows.delivery import Verdict

log = logging.getLogger(__name__)
# A round of fewer tokens may not have filled a block, and then there is nothing to hand out.
_TELLING: Final = 256


class Asked(Enum):
    """What transfer parameters a decode engine was sent."""

    NOTHING = auto()
    TO_KEEP = auto()  # a local round whose blocks may be fetched later
    TO_FETCH = auto()  # a decode leg


class HistoryMoves(Collector):
    """``configured`` is the dialect to begin with, which may claim more than the engine can."""

    def __init__(self, configured: Dialect) -> None:
        self._capability = Capability(enabled=configured.history_moves)
        self._moving = configured
        self._staying: Dialect = VLLM(bidirectional=False) if configured.history_moves else configured
        self._empty_handed = False  # the last decode leg that could have told
        self.dialect = configured

    def learn(self, verdict: Verdict, asked: Asked, *, streamed: bool) -> None:
        """A round that the engine ended."""
        if verdict.code != 200:
            return
        usage, before, handed_out = verdict.usage, self._capability.reason, verdict.params is not None
        telling = usage is not None and usage.prompt + usage.completion >= _TELLING
        if asked is Asked.TO_FETCH:
            self._empty_handed = not handed_out and (telling or self._empty_handed)
        elif handed_out and self._empty_handed:
            return
        told = asked is not Asked.NOTHING and telling
        self._capability.round_ended(asked=told, streamed=streamed, handed_out=handed_out)
        if self._capability.reason is not before:
            self.dialect = self._moving if self._capability.history_moves else self._staying
            log.info("history moves: %s (%s)", self._capability.history_moves, self._capability.reason)

    def collect(self) -> Iterable[Metric]:
        """Nothing for engines whose history cannot move in any version."""
        if self._moving.both_at_once:
            return
        gauge = GaugeMetricFamily(
            "pdscale_router_history_moves",
            "Whether prefill engines can read a session's KV from this decode engine, and why it is so.",
            labels=("place", "reason"),
        )
        gauge.add_metric(("sidecar", self._capability.reason), float(self._capability.history_moves))
        yield gauge
