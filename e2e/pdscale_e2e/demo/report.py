"""The demo's report: one HTML file that needs nothing else, with plots and the comparison."""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from pdscale_e2e.demo.watch import Sample, gpu_hours, resizes
from pdscale_e2e.replay.run import Replay

mpl.use("svg")

COLOURS = {"elastic": "#0b6e4f", "fixed": "#b5651d"}


@dataclass(frozen=True, slots=True)
class Run:
    """What one ServingDeployment did with the trace."""

    name: str
    replay: Replay
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the figures depend on."""

    trace: str
    seconds: float
    seed: int
    ttft: float
    tpot: float
    slo: float


def rows(runs: Sequence[Run], facts: Facts) -> list[tuple[str, dict[str, str]]]:
    """The comparison, one row per measure, as text for terminal and page alike."""
    ttft, tpot = facts.ttft, facts.tpot
    measures: Mapping[str, dict[str, str]] = {
        "requests sent": {r.name: str(r.replay.sent) for r in runs},
        "failed": {r.name: str(len(r.replay.failed)) for r in runs},
        "attainment, TTFT and TPOT": {
            r.name: _share(r.replay.attainment(ttft=ttft, tpot=tpot)) for r in runs
        },
        "strict attainment": {
            r.name: _share(r.replay.attainment(ttft=ttft, tpot=tpot, strict=True)) for r in runs
        },
        "TTFT P50 / P90 / P99": {r.name: _quantiles([o.ttft for o in _good(r)], "s") for r in runs},
        "TPOT P50 / P90 / P99": {r.name: _quantiles([o.tpot * 1000 for o in _good(r)], "ms") for r in runs},
        "GPU-hours": {r.name: f"{gpu_hours(r.samples):.2f}" for r in runs},
        "GPU-hours, had the peak been held": {r.name: f"{_peak_hours(r.samples):.2f}" for r in runs},
        "prefill resized up / down": {r.name: "{} / {}".format(*resizes(r.samples, "prefill")) for r in runs},
        "decode resized up / down": {r.name: "{} / {}".format(*resizes(r.samples, "decode")) for r in runs},
    }
    return list(measures.items())


def write(path: Path, runs: Sequence[Run], facts: Facts) -> None:
    """Write the page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(_page(runs, facts))
    draft.rename(path)


def _peak_hours(samples: Sequence[Sample]) -> float:
    return max(s.gpus for s in samples) * (samples[-1].at - samples[0].at) / 3600 if samples else 0.0


def _good(run: Run) -> list:  # type: ignore[type-arg]
    return [o for o in run.replay.outcomes if not o.error]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _quantiles(values: Sequence[float], unit: str) -> str:
    ordered = sorted(values)
    if not ordered:
        return "-"
    picked = (ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in (0.5, 0.9, 0.99))
    return " / ".join(f"{v:.2f}" if unit == "s" else f"{v:.0f}" for v in picked) + f" {unit}"


def _page(runs: Sequence[Run], facts: Facts) -> str:
    head = "".join(f"<th>{html.escape(r.name)}</th>" for r in runs)
    body = "".join(
        f"<tr><td>{html.escape(measure)}</td>"
        + "".join(f"<td>{html.escape(cells[r.name])}</td>" for r in runs)
        + "</tr>"
        for measure, cells in rows(runs, facts)
    )
    plots = "".join(f"<h2>{title}</h2>{_svg(figure)}" for title, figure in _plots(runs, facts))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>pdscale demo</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; }}
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .25rem 1rem .25rem 0; text-align: left; }}
tr {{ border-bottom: 1px solid #ddd; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
svg {{ width: 100%; height: auto; }}
</style></head><body>
<h1>pdscale demo</h1>
<p>Trace: {html.escape(facts.trace)}, played in {facts.seconds:.0f} s at its own request rate
(seed {facts.seed}). Limits: TTFT {facts.ttft:g} s, TPOT {facts.tpot * 1000:g} ms,
for {facts.slo:.0%} of requests.
Both deployments got the same requests at the same time; engines are emulated from a measured profile.</p>
<table><tr><th></th>{head}</tr>{body}</table>
{plots}
</body></html>
"""


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight")
    text = out.getvalue()
    return text[text.index("<svg") :]


def _plots(runs: Sequence[Run], facts: Facts) -> list[tuple[str, Figure]]:
    return [
        ("Load and forecast", _load(runs)),
        ("Replicas", _replicas(runs)),
        ("GPUs held", _lines(runs, "GPUs", lambda s: s.gpus)),
        ("Time to first token", _scatter(runs, "seconds", facts.ttft, lambda o: o.ttft)),
        ("Time per output token", _scatter(runs, "ms", facts.tpot * 1000, lambda o: o.tpot * 1000)),
        ("Rounds prefilled on decode replicas", _lines(runs, "share", lambda s: s.local_share)),
    ]


def _axes(figure: Figure, y: str):  # type: ignore[no-untyped-def]
    axes = figure.subplots()
    axes.set_xlabel("seconds into the trace")
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    return axes


def _legend(axes) -> None:  # type: ignore[no-untyped-def]
    """Above the plot, where it covers nothing."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=4, markerscale=3)


def _load(runs: Sequence[Run]) -> Figure:
    figure = Figure(figsize=(9, 2.8))
    axes = _axes(figure, "requests/s")
    arrivals = sorted(o.at for o in runs[0].replay.outcomes)
    last = int(arrivals[-1]) if arrivals else 0
    bins = [sum(t <= a < t + 5 for a in arrivals) / 5 for t in range(0, last, 5)]
    axes.step([t + 5 for t in range(0, last, 5)], bins, color="#555", label="arrivals, 5 s bins")
    for run in runs:
        known = [(s.at, s.forecast) for s in run.samples if s.forecast is not None]
        if known:
            axes.plot(
                *zip(*known, strict=True), color=COLOURS.get(run.name), label=f"{run.name}: forecast quantile"
            )
    _legend(axes)
    return figure


def _replicas(runs: Sequence[Run]) -> Figure:
    figure = Figure(figsize=(9, 3.2))
    axes = _axes(figure, "replicas")
    for run in runs:
        at = [s.at for s in run.samples]
        colour = COLOURS.get(run.name)
        axes.step(
            at,
            [s.prefill.ready for s in run.samples],
            color=colour,
            where="post",
            label=f"{run.name}: P ready",
        )
        axes.step(
            at,
            [s.decode.ready for s in run.samples],
            "--",
            color=colour,
            where="post",
            label=f"{run.name}: D ready",
        )
    axes.yaxis.get_major_locator().set_params(integer=True)
    _legend(axes)
    return figure


def _lines(runs: Sequence[Run], y: str, pick) -> Figure:  # type: ignore[no-untyped-def]
    figure = Figure(figsize=(9, 2.6))
    axes = _axes(figure, y)
    for run in runs:
        known = [(s.at, pick(s)) for s in run.samples if pick(s) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), color=COLOURS.get(run.name), label=run.name)
    _legend(axes)
    return figure


def _scatter(runs: Sequence[Run], y: str, limit: float, pick) -> Figure:  # type: ignore[no-untyped-def]
    figure = Figure(figsize=(9, 2.8))
    axes = _axes(figure, y)
    for run in runs:
        good = _good(run)
        axes.plot(
            [o.at for o in good],
            [pick(o) for o in good],
            ".",
            ms=3,
            alpha=0.6,
            color=COLOURS.get(run.name),
            label=run.name,
        )
    axes.axhline(limit, color="#a00", lw=1, label="limit")
    _legend(axes)
    return figure
