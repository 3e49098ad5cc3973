"""Scores as rows with goals, and as the table of docs/results.md; what loses stays in."""

import math
from collections.abc import Sequence

from benchmarks.forecast.peers import Compared, Peer
from benchmarks.forecast.scores import BARE, LAST, Judged
from benchmarks.rows import Goal, Row
from pdscale_forecaster import AUTO, MODELS

_LARGE, _MID = "rates_servegen_mlarge_week1", "rates_servegen_mmid_week1"
_COVERED = (0.87, 0.93)
_ABOVE = 1.02


def rows(results: Sequence[Judged]) -> list[Row]:
    """The goals; a series without enough origins to say anything is no row."""
    told = [result for result in results if AUTO in result.scores]
    found = []
    for series, least in ((_LARGE, 30.0), (_MID, 8.0)):
        for result in told:
            if result.name.startswith(series):
                goal = Goal(">=", least) if result.name.endswith(":requests") else None
                config = f"{result.name}, {result.lead:g} s ahead, {result.origins} origins"
                share = result.ratio(AUTO)
                found.append(Row("pinball(0.9) below last value", 100 * (1 - share), "%", config, goal))
                if BARE in result.scores:
                    bare = 100 * (1 - share / result.ratio(BARE))
                    found.append(Row("pinball(0.9) below bare last value", bare, "%", config))
    if told:
        worst = max(told, key=lambda result: result.ratio(AUTO))
        config = f"the worst of {len(told)}: {worst.name}, {worst.lead:g} s ahead, {worst.origins} origins"
        found.append(
            Row("pinball(0.9) over last value's", worst.ratio(AUTO), "ratio", config, Goal("<=", _ABOVE))
        )
    for result in told:
        if result.two_days:
            covered = result.scores[AUTO].coverage
            config = f"{result.name}, {result.lead:g} s ahead, {result.origins} origins"
            goals = (Goal(">=", _COVERED[0]), Goal("<=", _COVERED[1]))
            found += [Row("coverage of the 0.9-quantile", covered, "share", config, goal) for goal in goals]
    return found


def table(results: Sequence[Judged]) -> str:
    names = [name for name in (*MODELS, AUTO) if any(name in result.scores for result in results)]
    header = [
        "series",
        "lead s",
        "origins",
        "last value %",
        "bare",
        *names,
        "coverage",
        "last's",
        "WAPE",
        "last's",
        "used",
    ]
    lines = [_line(header), _line(["---", *["--:"] * (len(header) - 2), "---"])]
    for result in results:
        if AUTO not in result.scores:
            lines.append(_line([result.name, f"{result.lead:g}", "0", *[""] * (len(header) - 3)]))
            continue
        auto, last = result.scores[AUTO], result.scores[LAST]
        ratios = [_ratio(result.ratio(name)) for name in (BARE, *names)]
        lines.append(
            _line(
                [
                    result.name,
                    f"{result.lead:g}",
                    str(result.origins),
                    f"{100 * last.pinball:.2f}",
                    *ratios,
                    f"{auto.coverage:.3f}",
                    f"{last.coverage:.3f}",
                    f"{auto.wape:.3f}",
                    f"{last.wape:.3f}",
                    ", ".join(
                        f"{name} {n}" for name, n in sorted(result.chosen.items(), key=lambda c: -c[1])
                    ),
                ]
            )
        )
    return "\n".join([_EXPLAINED, "", *lines, "", *_switched_off(results)])


def _switched_off(results: Sequence[Judged]) -> list[str]:
    told = [
        f"- {r.name}, {r.lead:g} s ahead: " + ", ".join(f"{name} at {n}" for name, n in sorted(r.off.items()))
        for r in results
        if r.off
    ]
    return (
        ["Models that had switched themselves off, and at how many origins:", "", *told, ""] if told else []
    )


def peer_rows(compared: Sequence[Compared]) -> list[Row]:
    """How far the best peer is below us, in percent of ours; below zero it is worse."""
    found = []
    for one in compared:
        if one.peers:
            best = max(one.peers, key=lambda name: one.peers[name].gain)
            peer = one.peers[best]
            drawn = ", {:.1f} to {:.1f} in 90 % of draws".format(*peer.between) if peer.gain > 0 else ""
            config = f"{one.ours.name}, {one.ours.lead:g} s ahead, {peer.origins} origins: {best}{drawn}"
            found.append(Row("best peer's pinball(0.9) below ours", peer.gain, "%", config, Goal("<=", 2.0)))
    return found


def peer_table(compared: Sequence[Compared]) -> str:
    names = sorted({name for one in compared for name in one.peers})
    header = ["series", "lead s", "origins", AUTO, *names]
    lines = [_line(header), _line(["---", *["--:"] * (len(header) - 1)])]
    for one in compared:
        if AUTO not in one.ours.scores:
            continue
        cells = [f"{one.ours.ratio(AUTO):.3f} ({one.ours.scores[AUTO].coverage:.2f})"]
        for name in names:
            peer = one.peers.get(name)
            cells.append("" if peer is None else _peer_cell(peer, one.ours.origins))
        lines.append(_line([one.ours.name, f"{one.ours.lead:g}", str(one.ours.origins), *cells]))
    spent = {n: max(one.peers[n].seconds for one in compared if n in one.peers) for n in names}
    told = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in spent.items())
    return "\n".join([_PEERS, "", *lines, "", f"Processor time an origin, at most: {told}.", ""])


def _peer_cell(peer: Peer, origins: int) -> str:
    """Ours beside it where it was asked less often."""
    cell = f"{peer.score.pinball / peer.last.pinball:.3f} ({peer.score.coverage:.2f})"
    if peer.origins == origins:
        return cell
    return f"{cell} at {peer.origins}, ours {peer.ours.pinball / peer.last.pinball:.3f}"


def _ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


_EXPLAINED = """Pinball loss of the 0.9-quantile over that of *last value*, on the second half of each
series; below 1 is better. *Last value* is the last value times the 0.9-quantile of its past ratios; its
column is the loss in percent of the mean load. *Bare* is the last value itself. The models' quantiles,
`LastValue`'s too, come from the library's adaptive errors. *Coverage* and *WAPE* are those of `Auto`, and of
last value beside them; *used* counts what `Auto` chose. Minutes are judged at every second origin."""

_PEERS = """Peers: pinball over last value's on the same origins, coverage in brackets. statsforecast's models
are refitted eight times and updated in between, and have quantiles of their own. Dynamo's predictors give
points for the next interval, here as long as the lead, which become quantiles as last value does. Two of
those are too slow for every origin. Minutes are asked at every second origin, those of whole days at every
fourth. Draws are of blocks of a row's origins: where they reach zero, the difference may be luck."""
