"""What is happening, live in the terminal; plain lines where there is no terminal."""

import time
from collections.abc import Mapping, Sequence

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
    """One row per ServingDeployment."""
    ttft, tpot = limits
    found = Table(title=f"pdscale demo, {now:.0f} s into the trace", title_justify="left")
    for column in ("", "req/s", "forecast", "P ready/want", "D ready/want", "P:D", "GPUs", "sent", "failed"):
        found.add_column(column, justify="left" if not column else "right")
    for column in ("TTFT ok", "TPOT ok", "both ok", "local share", "last plan"):
        found.add_column(column, justify="right" if column != "last plan" else "left")
    for name, replay in replays.items():
        last = samples[name][-1] if samples.get(name) else None
        ended = replay.outcomes
        good = len(ended) or 1
        found.add_row(
            name,
            f"{rate(replay, now):.1f}",
            f"{last.forecast:.1f}" if last and last.forecast is not None else "-",
            f"{last.prefill.ready}/{last.prefill.desired}" if last else "-",
            f"{last.decode.ready}/{last.decode.desired}" if last else "-",
            f"{last.prefill.ready / last.decode.ready:.2f}" if last and last.decode.ready else "-",
            str(last.gpus) if last else "-",
            str(replay.sent),
            str(len(replay.failed)),
            share(sum(o.ttft <= ttft and not o.error for o in ended) / good if ended else None),
            share(sum(o.tpot <= tpot and not o.error for o in ended) / good if ended else None),
            share(replay.attainment(ttft=ttft, tpot=tpot)),
            share(last.local_share if last else None),
            last.trail if last else "",
        )
    return found


class Voice:
    """Progress lines with elapsed seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        self._console.print(
            f"[{time.monotonic() - self._started:5.1f}s] {text}", markup=False, highlight=False
        )
