"""What is happening, live in the terminal; plain lines where there is no terminal."""

import time
from collections.abc import Mapping, Sequence
from math import inf

from rich.console import Console
from rich.table import Table

from pdscale_e2e.demo.watch import Sample
from pdscale_e2e.replay.run import Replay

RECENT = 20.0  # seconds over which load and attainment are shown


def rate(replay: Replay, now: float) -> float:
    """Requests that ended per second, lately."""
    return sum(now - RECENT <= o.at + o.total <= now for o in replay.outcomes) / RECENT


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def table(
    replays: Mapping[str, Replay],
    samples: Mapping[str, Sequence[Sample]],
    *,
    now: float,
    limits: tuple[float, float],
) -> Table:
    """One row per ServingDeployment; the last plan of the elastic one below."""
    latest = {name: seen[-1] for name, seen in samples.items() if seen}
    trail = latest["elastic"].trail if "elastic" in latest else ""
    found = Table(
        title=f"{now:.0f} s into the trace", caption=trail, title_justify="left", caption_justify="left"
    )
    found.add_column("")
    for column in (
        "req/s",
        "fcast",
        "P",
        "D",
        "P:D",
        "GPUs",
        "sent",
        "fail",
        "TTFT",
        "TPOT",
        "both",
        "local",
    ):
        found.add_column(column, justify="right", no_wrap=True)
    for name, replay in replays.items():
        found.add_row(
            name,
            *_pools(latest.get(name), rate(replay, now)),
            *_requests(replay, limits),
            _local(latest.get(name)),
        )
    return found


def _pools(last: Sample | None, load: float) -> list[str]:
    """Load, forecast, ready/wanted replicas, ratio, GPUs."""
    if last is None:
        return [f"{load:.1f}", "-", "-", "-", "-", "-"]
    return [
        f"{load:.1f}",
        "-" if last.forecast is None else f"{last.forecast:.1f}",
        f"{last.prefill.ready}/{last.prefill.desired}",
        f"{last.decode.ready}/{last.decode.desired}",
        f"{last.prefill.ready / last.decode.ready:.2f}" if last.decode.ready else "-",
        str(last.gpus),
    ]


def _requests(replay: Replay, limits: tuple[float, float]) -> list[str]:
    """Sent, failed, and the shares within the TTFT limit, the TPOT limit and both."""
    ttft, tpot = limits
    met = (replay.attainment(ttft=t, tpot=p) for t, p in ((ttft, inf), (inf, tpot), (ttft, tpot)))
    return [str(replay.sent), str(len(replay.failed)), *(share(value) for value in met)]


def _local(last: Sample | None) -> str:
    return share(last.local_share if last else None)


class Voice:
    """Progress lines with elapsed seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        self._console.print(
            f"[{time.monotonic() - self._started:5.1f}s] {text}", markup=False, highlight=False
        )
