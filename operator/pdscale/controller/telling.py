"""What a tick leaves behind for people and dashboards: metrics, how earlier ones turned out, one log line."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pdscale.controller import report
from pdscale.controller.conditions import Outcome
from pdscale.controller.memory import Memory
from pdscale.controller.snapshot import Snapshot
from pdscale.model.pools import Targets
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.telemetry import Metrics

_log = logging.getLogger("pdscale.loop")


@dataclass(frozen=True, slots=True)
class Telling:
    """Of every object, after each tick that got as far as a decision."""

    metrics: Metrics
    clock: Callable[[], Seconds]

    def of(self, seen: Snapshot, memory: Memory, outcome: Outcome) -> None:
        self._measure(seen, outcome)
        self._look_back(seen, memory, outcome)
        _log_plan(seen, memory, outcome)

    def _measure(self, seen: Snapshot, outcome: Outcome) -> None:
        decision, pools = outcome.decision, outcome.observation
        current, ready = pools.current, Targets(pools.prefill.ready, pools.decode.ready)
        self.metrics.replicas(
            seen.namespace, seen.name, current=current, desired=decision.wanted, ready=ready
        )
        self.metrics.forecast(seen.namespace, seen.name, getattr(decision.forecast, "value", None))
        self.metrics.figures(seen.namespace, seen.name, report.figures(outcome))
        for step in decision.plan.steps:
            self.metrics.decisions.labels(step.reason).inc()

    def _look_back(self, seen: Snapshot, memory: Memory, outcome: Outcome) -> None:
        """What became of earlier forecasts and resizes."""
        past, forecast, record = outcome.observation.history, outcome.decision.forecast, memory.forecasts
        if not isinstance(past, NoData):
            record.judge(past)
            if not isinstance(forecast, NoData):
                record.note(forecast, past)
        realised = {
            "forecast_realised_coverage": record.coverage,
            "forecast_realised_error_ratio": record.error,
        }
        self.metrics.figures(seen.namespace, seen.name, realised)
        self.metrics.draining(seen.namespace, seen.name, outcome.marked)
        if outcome.flip is not None:
            self.metrics.flipped(seen.namespace, seen.name, outcome.flip.to)
        for role in memory.flaps.among(outcome.written, self.clock()):
            self.metrics.flapped(seen.namespace, seen.name, role)


def _log_plan(seen: Snapshot, memory: Memory, outcome: Outcome) -> None:
    """One line per plan; at info only when it leads somewhere else than the one before."""
    plan = outcome.decision.plan
    outline = " ".join(f"{step.reason}:{step.targets}" for step in plan.steps)
    news = bool(outcome.written or outcome.refused) or outline != memory.last_plan
    memory.last_plan = outline
    _log.log(
        logging.INFO if news else logging.DEBUG,
        "%s: %s, wants %s: %s",
        seen,
        outcome.observation.current,
        outcome.decision.wanted,
        plan.trail or "nothing to change",
    )
    if outcome.ruling.proposal is not None and news:
        _log.info("%s: proposal %s", seen, outcome.ruling.proposal.id)
    for refusal in outcome.refused:
        _log.warning("%s: %s refused: %s", seen, refusal.write, refusal.message)
