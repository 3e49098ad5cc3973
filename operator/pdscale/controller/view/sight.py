"""What the page shows of one object and its status does not tell: the rate's past, forecasts beside it, plans
in a row, and each replica.

All of it is what ticks saw anyway, kept in memory within bounds; a restart begins anew. The bounds are
reached after hours, so what grows to them is packed.
"""

import math
from array import array
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pdscale.controller.conditions import Outcome
from pdscale.controller.observe import Workloads
from pdscale.controller.replica_figures import ReplicaFigures
from pdscale.kube.marks import Mark, mark_of, replica
from pdscale.kube.pools import of_role
from pdscale.kube.status import timestamp
from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.scaling.history import History
from pdscale_forecaster.series import Forecast, Series

Json = dict[str, Any]
POINTS: Final = 240  # samples of the rate; an hour at a step of 15 s
PLANS: Final = 12
EXPECTED: Final = 3  # figures of a forecast: when it comes due, the middle, the quantile


@dataclass(slots=True)
class Sight:
    """One object, as its last ticks saw it. ``figures`` are of replicas that tell, by pod."""

    body: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, ReplicaFigures] = field(default_factory=dict)
    _rate: Series | None = None
    _forecasts: "array[float]" = field(default_factory=lambda: array("d"))  # one after the other
    _quantile: float | None = None
    _plans: deque[Json] = field(default_factory=lambda: deque(maxlen=PLANS))
    _replicas: tuple[Json, ...] = ()
    _at: Seconds | None = None

    def saw(self, outcome: Outcome, workloads: Workloads, now: Seconds) -> None:
        """Take over what a tick saw and decided at ``now``."""
        self._at = now
        history, forecast = outcome.observation.history, outcome.decision.forecast
        if not isinstance(history, NoData):
            self._rate = history.request_rate.last(POINTS * history.request_rate.step)
            if not isinstance(forecast, NoData):
                self._expect(forecast, history)
        plan = _plan(outcome, now)
        if not self._plans or _outline(plan) != _outline(self._plans[0]):
            self._plans.appendleft(plan)
        self._replicas = tuple(_replicas(workloads, outcome.draining, now))

    def live(self) -> Json | None:
        """What is known beyond the stored object; None before the first tick that got so far."""
        if self._at is None:
            return None
        return {
            "at": self._at,
            "rate": _points(self._rate),
            "forecasts": [
                self._forecasts[n : n + EXPECTED].tolist() for n in range(0, len(self._forecasts), EXPECTED)
            ],
            "quantile": self._quantile,
            "plans": list(self._plans),
            "replicas": [{**r, **self._told(r["name"])} for r in self._replicas],
        }

    def _expect(self, forecast: Forecast, history: History) -> None:
        """One forecast for each instant: of those that speak of the same one, the first was made."""
        due = history.request_rate.end + forecast.horizon
        if not self._forecasts or due >= self._forecasts[-EXPECTED] + history.request_rate.step / 2:
            self._forecasts.extend((due, forecast.point, forecast.value))
            del self._forecasts[: -2 * POINTS * EXPECTED]
            self._quantile = forecast.quantile

    def _told(self, pod: str) -> Json:
        figures = self.figures.get(pod)
        if figures is None:
            return {"sessions": None, "open": None, "kv": None}
        return {"sessions": figures.sessions, "open": figures.open, "kv": figures.kv}


def _points(rate: Series | None) -> list[list[float | None]]:
    if rate is None:
        return []
    instants = (rate.start + i * rate.step for i in range(len(rate.values)))
    return [[t, None if math.isnan(v) else v] for t, v in zip(instants, rate.values, strict=True)]


def _plan(outcome: Outcome, now: Seconds) -> Json:
    current, wanted = outcome.observation.current, outcome.decision.wanted
    steps = outcome.decision.plan.steps
    return {
        "time": timestamp(now),
        "before": {"prefill": current.prefill, "decode": current.decode},
        "wanted": {"prefill": wanted.prefill, "decode": wanted.decode},
        "written": [str(write) for write in outcome.written],
        "refused": [refusal.message for refusal in outcome.refused],
        "trail": [
            {"reason": s.reason, "prefill": s.targets.prefill, "decode": s.targets.decode, "note": s.note}
            for s in steps
        ],
    }


def _outline(plan: Json) -> tuple[Any, ...]:
    """A plan without time and figures: what makes it another one. A tick that writes is always news."""
    return plan["wanted"], [s["reason"] for s in plan["trail"]], plan["written"], plan["refused"]


def _replicas(workloads: Workloads, draining: Mapping[Role, Collection[str]], now: Seconds) -> Iterator[Json]:
    """As the tick leaves them: pods were listed before it marked some and took the marks off others."""
    for role in Role:
        for pod in sorted(of_role(workloads.pods, role), key=lambda p: str(p["metadata"]["name"])):
            found = replica(pod)
            if found is None and not pod["metadata"].get("deletionTimestamp"):
                continue  # it has ended and holds nothing
            if found is None:
                state = "terminating"
            elif not found.ready:
                state = "starting"
            else:
                state = "draining" if found.name in draining.get(role, ()) else "ready"
            since = _since(mark_of(pod), now) if state == "draining" else None
            yield {"name": pod["metadata"]["name"], "role": role, "state": state, "since": since}


def _since(mark: Mark, now: Seconds) -> Seconds | None:
    """Somebody else's mark tells no time, and one that this tick has set is not on the listed pod yet."""
    return mark.since if mark.drains else now
