"""Histories and forecasts from a real Prometheus with a year of made-up past.

Nothing but Prometheus is needed, no cluster. ``PDSCALE_HISTORY_DAYS=365`` makes it a year (minutes).
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pdscale.prom.client import PrometheusHistory
from pdscale.prom.grid import PAGE, Grid
from pdscale.scaling.history import History
from pdscale_e2e.backfill import Past, backfill
from pdscale_e2e.written import COUNTED, asked, of_front, written_prometheus

DAYS = float(os.environ.get("PDSCALE_HISTORY_DAYS", "20"))
DAY, MINUTE = 86_400.0, 60.0
ON_SIDECARS = {
    "estimated_uncached_tokens_total": 1000.0,
    "arrived_uncached_tokens_total": 1000.0,
    "arrived_uncached_tokens_squared_total": 2e6,
}


def a_year(now: float) -> list[Past]:
    """A service with a day's rhythm, scraped once a minute by front, sidecars, gates and engines."""
    at = np.arange(now - DAYS * DAY, now, MINUTE)
    rng = np.random.default_rng(1)
    rate = 10 * (1 + 0.5 * np.sin(2 * math.pi * at / DAY)) * rng.gamma(50, 1 / 50, len(at))
    counted = np.cumsum(rate * MINUTE)
    sidecar = {"namespace": "prod", "pod": "chat-decode-7c9d-abcde", "place": "sidecar", "job": "pdscale"}
    gate = {"namespace": "prod", "pod": "chat-prefill-7c9d-abcde", "place": "gate", "job": "pdscale"}
    engine = {"namespace": "prod", "pod": "chat-decode-7c9d-abcde", "job": "pdscale"}
    computed = {"__name__": "vllm:prompt_tokens_by_source_total", "source": "local_compute"}
    return [
        *(Past(of_front(name), at, counted * each) for name, each in COUNTED.items()),
        *(
            Past({"__name__": f"pdscale_router_{name}", **sidecar}, at, counted * each)
            for name, each in ON_SIDECARS.items()
        ),
        Past({"__name__": "pdscale_router_inflight_requests", **gate}, at, rate),
        Past({"__name__": "vllm:num_requests_running", **engine}, at, 6 * rate),
        Past({"__name__": "vllm:num_requests_waiting", **engine}, at, 0 * rate),
        Past({**computed, **engine}, at, 300 * counted),
        Past({**computed, **engine, "pod": gate["pod"]}, at, 700 * counted),
    ]


class Year:
    """A server's address, and the instant at which its past ends."""

    def __init__(self, url: str, now: float, pid: int) -> None:
        self.url, self.now, self._pid = url, now, pid

    def server_cpu(self) -> float:
        """Seconds of CPU time that the server has taken."""
        ticks = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Year]:
    now = math.floor(time.time() / MINUTE) * MINUTE
    with written_prometheus(tmp_path_factory.mktemp("year")) as (url, pid):
        began = time.monotonic()
        written = backfill(url, a_year(now))
        print(f"\n{DAYS:g} days: {written} samples written in {time.monotonic() - began:.1f} s")
        yield Year(url, now, pid)


def read(reader: PrometheusHistory, now: float, *, days: float) -> Coroutine[Any, Any, History]:
    return reader.history(namespace="prod", name="chat", window=days * DAY, step=MINUTE, now=now)


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that reading took, and of which the server spent on it."""

    wall: float
    server: float


def test_two_weeks_of_minutes_are_read_once_and_then_by_the_minute(year: Year) -> None:
    later = 15

    async def costs(reader: PrometheusHistory) -> tuple[History, Cost, Cost]:
        began, spent = time.monotonic(), year.server_cpu()
        first = await read(reader, year.now - 3600, days=14)
        whole = Cost(time.monotonic() - began, year.server_cpu() - spent)
        began, spent = time.monotonic(), year.server_cpu()
        for minute in range(1, later + 1):
            await read(reader, year.now - 3600 + minute * MINUTE, days=14)
        tick = Cost((time.monotonic() - began) / later, (year.server_cpu() - spent) / later)
        return first, whole, tick

    history, whole, tick = asked(year.url, costs, scrape=MINUTE)
    for what, cost in (("14 days of minutes", whole), ("each tick after that", tick)):
        print(f"\n{what}: {cost.wall * 1000:.0f} ms, {cost.server * 1000:.0f} ms of the server's CPU time")
    assert len(history.request_rate.values) == 20_160
    assert history.request_rate.known > 20_100
    assert history.decode_streams.known > 20_100
    assert 9 < np.nanmean(history.request_rate.values) < 11
    assert np.nanmean(history.local_share.values) == pytest.approx(0.3, abs=0.01)
    assert tick.server < whole.server / 3


def resident() -> int:
    """Bytes of this process that are in memory. Tracing every allocation would take minutes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat_while_a_year_passes(year: Year) -> None:
    """A window of a day slides over the year; what has left it is forgotten."""

    async def passes(reader: PrometheusHistory) -> list[int]:
        held = []
        for day in np.linspace(2, DAYS, 36):
            await read(reader, year.now - (DAYS - day) * DAY, days=1)
            held.append(resident())
        return held

    held = asked(year.url, passes, scrape=MINUTE)
    early, late = max(held[6:12]), max(held[-6:])
    print(f"\nresident after a fifth of the time {early / 1e6:.1f} MB, at its end {late / 1e6:.1f} MB")
    assert late < early + 4e6


def test_a_whole_past_needs_the_memory_of_its_numbers_alone(year: Year) -> None:
    query = 'sum(rate(pdscale_router_requests_received_total{place="front"}[240s]))'
    grid = Grid.ending(year.now, window=DAYS * DAY, step=MINUTE)
    before, began = resident(), time.monotonic()
    series = asked(year.url, lambda reader: reader.series(query, grid), scrape=MINUTE)
    took, grown = time.monotonic() - began, resident() - before
    pages = math.ceil(grid.samples / PAGE)
    print(f"\n{grid.samples} samples in {pages} pages: {took:.1f} s, {grown / 1e6:.1f} MB more")
    assert series.known > 0.99 * grid.samples
    assert grown < 50 * grid.samples + 30e6  # a number and its place in a tuple take 32 bytes; and a page


def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pdscale", *arguments], capture_output=True, text=True, timeout=300
    )


def test_a_forecast_needs_a_url_and_nothing_else(year: Year, tmp_path: Path) -> None:
    plot = tmp_path / "band.svg"
    words = ("--history", "3d", "--step", "5m", "--lead", "5m", "--plot", str(plot), "--json")
    run = cli("forecast", "--prometheus", year.url, *words)
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert document["load"] == "requests per second of pdscale routers"
    assert document["known"] > 850
    (found,) = document["forecasts"]
    assert 3 < found["low"] <= found["middle"] <= found["high"] < 20
    assert plot.read_text().startswith("<svg xmlns=")


def test_a_backtest_of_ones_own_prometheus_ends_in_gpu_hours(year: Year, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    words = ("--history", "6h", "--lead", "5m", "--origins", "20", "--models", "LastValue,Level", "--json")
    replay = ("--replay", "true", "--excerpt", "0s..20m", "--scaling", "Static,Pdscale")
    run = cli("backtest", "--prometheus", year.url, *words, *replay, "--report", str(report))
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert {score["model"] for score in document["scores"]} == {"LastValue", "Level"}
    assert [each["name"] for each in document["replays"]] == ["Static", "Pdscale, LastValue", "Pdscale, Auto"]
    assert all(each["gpu_hours"] > 0 and 0 <= each["attainment"] <= 1 for each in document["replays"])
    assert "GPU-hours against attainment" in report.read_text()
