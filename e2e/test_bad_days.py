"""Bad days of a service in a real Prometheus: what is read is the load or nothing, and no fleet shrinks.

Two hours each, scraped every 15 s, with a break in the middle; a planner walks over it as an operator would.
"""

import math
import time
from collections.abc import Coroutine, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Targets
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.prom.client import PrometheusHistory
from pdscale.prom.sources import freshness
from pdscale.scaling.autoscaler import Autoscaler, Observation
from pdscale.scaling.history import History
from pdscale.scaling.policy import Policy
from pdscale_e2e.backfill import Past, backfill
from pdscale_e2e.written import asked, counted, ended, written_prometheus
from pdscale_forecaster.forecasting import Remembered

MINUTE, SCRAPE = 60.0, 15.0
RATE = 8.0

Numbers = NDArray[np.float64]


@pytest.fixture(scope="module")
def bad_days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, float]]:
    now = math.floor(time.time() / MINUTE) * MINUTE
    days = {name: make for name, (make, _) in DAYS_GONE_BAD.items()} | {"faded": _faded}
    with written_prometheus(tmp_path_factory.mktemp("days")) as (url, _):
        backfill(url, [past for namespace, make in days.items() for past in make(namespace, now)])
        yield url, now


def _times(begin: float, end: float) -> Numbers:
    return np.arange(begin, end, SCRAPE)


def _steady(begin: float, end: float, *, from_count: float = 0.0) -> tuple[Numbers, Numbers]:
    at = _times(begin, end)
    return at, from_count + RATE * (at - at[0])


def _reset(namespace: str, now: float) -> list[Past]:
    at, values = _steady(now - 7200, now)
    return counted(namespace, at, np.where(at < now - 3600, values + 1e6, RATE * (at - now + 3600)))


def _restart(namespace: str, now: float) -> list[Past]:
    """The pod is replaced by one of another name, which had counted 5000 before its first scrape."""
    return [
        *ended(counted(namespace, *_steady(now - 7200, now - 3600)), scrape=SCRAPE),
        *counted(namespace, *_steady(now - 3600, now, from_count=5000.0), pod="chat-router-5d8f-fghij"),
    ]


def _gap(namespace: str, now: float) -> list[Past]:
    at, values = _steady(now - 7200, now)
    kept = (at < now - 4500) | (at >= now - 2700)
    return counted(namespace, at[kept], values[kept])


def _stale(namespace: str, now: float) -> list[Past]:
    return counted(namespace, *_steady(now - 7200, now - 1200))


def _lost_scrapes(namespace: str, now: float) -> list[Past]:
    at, values = _steady(now - 7200, now)
    kept = np.arange(len(at)) % 10 != 7
    return counted(namespace, at[kept], values[kept])


def _half_of_two(namespace: str, now: float) -> list[Past]:
    """One of two front routers is no longer scraped, though it serves."""
    other = counted(namespace, *_steady(now - 7200, now - 1200), pod="chat-router-5d8f-fghij")
    return [*counted(namespace, *_steady(now - 7200, now)), *ended(other, scrape=SCRAPE)]


def _nan(namespace: str, now: float) -> list[Past]:
    at, values = _steady(now - 7200, now)
    return counted(namespace, at, np.where((at > now - 3600) & (at < now - 3000), math.nan, values))


def _faded(namespace: str, now: float) -> list[Past]:
    """No bad day: three of four requests really stay away."""
    at = _times(now - 7200, now)
    rate = np.where(at < now - 3600, RATE, RATE / 4)
    return counted(namespace, at, np.cumsum(rate * SCRAPE))


# And how many instants of two hours may be unknown: a window of 60 s at each break, and the break itself.
DAYS_GONE_BAD = {
    "reset": (_reset, 8),
    "restart": (_restart, 16),
    "gap": (_gap, 120 + 16),
    "stale": (_stale, 80 + 8),
    "lost-scrapes": (_lost_scrapes, 48 + 8),
    "half-of-two": (_half_of_two, 16),
    "nan": (_nan, 40 + 16),
}


def read(reader: PrometheusHistory, namespace: str, now: float) -> Coroutine[Any, Any, History]:
    return reader.history(namespace=namespace, name="chat", window=7200, step=SCRAPE, now=now)


@pytest.mark.parametrize("namespace", list(DAYS_GONE_BAD))
def test_a_bad_day_reads_as_the_load_or_as_nothing(bad_days: tuple[str, float], namespace: str) -> None:
    url, now = bad_days

    history = asked(url, lambda reader: read(reader, namespace, now), scrape=SCRAPE)
    rate = np.array(history.request_rate.values)
    known = rate[~np.isnan(rate)]
    if namespace == "half-of-two":
        known = np.minimum(known, 2 * RATE - known + RATE)  # both of them, or the one that is left
        known = np.where(known > 1.5 * RATE, known / 2, known)
    assert len(known) >= len(rate) - DAYS_GONE_BAD[namespace][1]
    assert known.min() > 0.85 * RATE, f"a load that fades: {np.round(rate, 2).tolist()}"
    assert known.max() < 1.15 * RATE, f"a load that nobody had: {np.round(rate, 2).tolist()}"


# ---- A planner that shrinks at once where it thinks that it may.

# When a day's load breaks off or comes back, in seconds before its end; scrapes are lost all the time.
BREAKS = {
    "reset": (3600,),
    "restart": (3600,),
    "gap": (4500, 2700),
    "stale": (1200,),
    "lost-scrapes": (3600,),
    "nan": (3600, 3000),
    "faded": (3600,),
}
POLICY = Policy(
    slo=SLO(2.0, 0.065),
    prefill=Bounds(1, 20),
    decode=Bounds(1, 20),
    gpus=GpusPerReplica(8, 8),
    gpu_budget=320,
    profile=BUILTIN["llama-2-70b-a100-tp8-2023"],
    scale_down_window=0.0,
)


def instants(namespace: str, now: float) -> list[float]:
    """From ten minutes before the first break: every half minute around breaks, else every five."""
    near = [np.arange(-MINUTE, 10 * MINUTE, 2 * SCRAPE) - before for before in BREAKS[namespace]]
    now_and_then = np.arange(-85 * MINUTE, 1, 5 * MINUTE)
    return sorted(float(now + at) for at in {*np.concatenate([now_and_then, *near])})


def walked(url: str, namespace: str, now: float) -> list[Targets]:
    async def walk(reader: PrometheusHistory) -> list[Targets]:
        scaler, fleet, found = Autoscaler(predict=Remembered()), Targets(1, 1), []
        for instant in instants(namespace, now):
            past = await reader.history(
                namespace=namespace, name="chat", window=POLICY.history, step=POLICY.step, now=instant
            )
            pools = PoolState(fleet.prefill, ready=fleet.prefill), PoolState(fleet.decode, ready=fleet.decode)
            fleet = scaler.decide(POLICY, Observation(*pools, past), instant).apply or fleet
            found.append(fleet)
        return found

    return asked(url, walk, scrape=SCRAPE)


@pytest.mark.parametrize("namespace", [day for day in BREAKS if day != "faded"])
def test_no_fleet_shrinks_for_a_bad_day(bad_days: tuple[str, float], namespace: str) -> None:
    """Half of two is left out: a router that was taken away and one that is not seen write the same."""
    url, now = bad_days
    fleets = walked(url, namespace, now)
    assert min(fleets[0].prefill, fleets[0].decode) >= 2, "a fleet at its minima could not shrink"
    shrunk = [(a, b) for a, b in pairwise(fleets) if b.prefill < a.prefill or b.decode < a.decode]
    assert not shrunk, shrunk
    print(f"\n{namespace}: {fleets[0]} all the way, {fleets[-1]} at the end")


def test_a_load_that_really_fades_does_shrink_the_fleet(bad_days: tuple[str, float]) -> None:
    """Else the test above would pass for a planner that never shrinks."""
    url, now = bad_days
    fleets = walked(url, "faded", now)
    assert fleets[-1].prefill < fleets[0].prefill
    assert fleets[-1].decode < fleets[0].decode


def test_routers_that_fell_silent_are_named(bad_days: tuple[str, float]) -> None:
    url, now = bad_days
    (front, *_) = freshness(asked(url, lambda reader: read(reader, "stale", now), scrape=SCRAPE))
    assert not front.fresh
    assert front.reason == "request_rate of front routers is no longer told"
