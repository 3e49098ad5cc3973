"""The goals as rows, and the whole table as Markdown.

A ratio is taken within each round, between runs that were seconds apart, and the median of the rounds
counts: the machine's mood then cancels. A row whose other side is missing is left out: no data is no verdict.

A paced stream whose proxy had to wait for its core says little: delays are the neighbour's, and tokens that
arrive late together cost less than apart. Such a row states its figure and is not judged.

Goals are the same for what is compiled and for what is not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from statistics import median
from typing import Final

from benchmarks.router.cells import CALM, Cell, middle, of
from benchmarks.router.pairs import COMPILED, both
from benchmarks.rows import Goal, Row

_HOPS: Final = ("ours-sidecar", "ours-front")
_SPLIT: Final = ("ours-pd", "ours-pd-path")
_RUST_SPLIT: Final = ("vllm-router-pd", "sglang-router-pd")
WITHHELD: Final = "not judged"
_STREAMS: Final = ("sse32", "apart32", "sse256")


def rows(cells: Sequence[Cell]) -> list[Row]:
    found = [*_ratios(cells), *_delays(cells), *_memory(cells)]
    return [row for row in found if row is not None]


def _ratios(cells: Sequence[Cell]) -> Iterator[Row | None]:
    for scenario, stack in product(("short", "big"), both(_SPLIT)):
        goal = Goal("<=", 0.4) if scenario == "short" and stack in both(("ours-pd",)) else None
        yield _ratio(cells, stack, _RUST_SPLIT, scenario, goal)
    for scenario, stack in product(("short", "big"), both(_HOPS)):
        goal = Goal("<=", 1.5) if scenario == "short" else None
        yield _ratio(cells, stack, ("nginx",), scenario, goal)
    for stack in both((*_HOPS, "ours-pd")):
        peer = "vllm-router-pd" if stack in both(_SPLIT) else "vllm-router"
        yield _ratio(cells, stack, (peer,), "sse256", Goal("<=", 1.0))
    for scenario, stack in product(("short", "sse256"), (*_HOPS, *_SPLIT)):
        yield _ratio(cells, stack + COMPILED, (stack,), scenario, None)


def _ratio(
    cells: Sequence[Cell], stack: str, peers: Sequence[str], scenario: str, goal: Goal | None
) -> Row | None:
    """Of several peers, the cheapest one of each round."""
    found, mine = [], of(cells, stack, scenario)
    for cell in mine:
        others = [c.cpu_us for p in peers for c in of(cells, p, scenario) if c.round == cell.round]
        if others and min(others) > 0:
            found.append(cell.cpu_us / min(others))
    if not found:
        return None
    peer = peers[0] if len(peers) == 1 else "the cheaper Rust router in P/D mode"
    unit = "token" if scenario in _STREAMS else "request"
    row = Row(f"CPU per {unit}, {stack} / {peer}", median(found), "", _circumstances(scenario, found), goal)
    return _judged(row, mine)


def _delays(cells: Sequence[Cell]) -> Iterator[Row | None]:
    ours = both((*_HOPS, *_SPLIT))
    for stack, scenario in product(ours, ("sse32", "apart32")):
        goal = Goal("<=", 1.0) if stack not in both(("ours-pd-path",)) else None
        yield _added(cells, stack, scenario, "p50", lambda c: c.ttft_p50, None)
        yield _added(cells, stack, scenario, "p99", lambda c: c.ttft_p99, goal)
    for stack, scenario in product(ours, ("sse32", "apart32", "sse256")):
        mine = of(cells, stack, scenario)
        direct = of(cells, _unproxied(stack), scenario)
        if mine:
            worst = max(c.worst_gap for c in mine)
            beside = f"{scenario}; worst {worst:.1f} ms; direct: {sum(c.stalls for c in direct)}"
            stalls = sum(c.stalls for c in mine)
            row = Row(f"stalls of 10 ms or more, {stack}", stalls, "", beside, Goal("<=", 0))
            yield _judged(row, mine)


def _unproxied(stack: str) -> str:
    return "direct-pd" if stack in both(_SPLIT) else "direct"


def _added(
    cells: Sequence[Cell],
    stack: str,
    scenario: str,
    name: str,
    figure: Callable[[Cell], float],
    goal: Goal | None,
) -> Row | None:
    """Over the direct run of the same round."""
    direct = {c.round: figure(c) for c in of(cells, _unproxied(stack), scenario)}
    mine = [c for c in of(cells, stack, scenario) if c.round in direct]
    if not mine:
        return None
    found = [figure(c) - direct[c.round] for c in mine]
    metric, config = f"TTFT {name} added over direct, {stack}", _circumstances(scenario, found)
    return _judged(Row(metric, median(found), "ms", config, goal), mine)


def _judged(row: Row, cells: Sequence[Cell]) -> Row:
    """The row, without its goal if the machine was too busy for a verdict."""
    waited = median(c.waited_each for c in cells)
    if row.goal is None or cells[0].scenario not in _STREAMS or waited <= CALM:
        return row
    why = f"{WITHHELD} ({row.goal}): waited {waited:.0%} of the time for its core"
    return replace(row, goal=None, config=f"{why}; {row.config}")


def _memory(cells: Sequence[Cell]) -> Iterator[Row]:
    for stack in sorted({c.stack for c in cells if c.memory_mb}):
        most = max(c.memory_mb for c in cells if c.stack == stack)
        yield Row(f"resident memory, {stack}", most, "MB", "all its processes, the most seen")


def _circumstances(scenario: str, found: Sequence[float]) -> str:
    return f"{scenario}; {len(found)} rounds, {min(found):.2f} to {max(found):.2f}"


_Column = tuple[str, str, Callable[[Cell], float]]
_REQUESTS: Final[tuple[_Column, ...]] = (
    ("short: us/request", "short", lambda c: c.cpu_us),
    ("user part", "short", lambda c: c.user_us),
    ("requests/s", "short", lambda c: c.rate),
    ("p50 ms", "short", lambda c: c.latency_p50),
    ("p99 ms", "short", lambda c: c.latency_p99),
    ("waited %", "short", lambda c: 100 * c.waited),
    ("200 kB: us/request", "big", lambda c: c.cpu_us),
    ("requests/s", "big", lambda c: c.rate),
    ("waited %", "big", lambda c: 100 * c.waited),
    ("MB", "big", lambda c: c.memory_mb),
)


def _streams(scenario: str) -> tuple[_Column, ...]:
    return (
        (f"{scenario}: us/token", scenario, lambda c: c.cpu_us),
        ("TTFT p50 ms", scenario, lambda c: c.ttft_p50),
        ("p99", scenario, lambda c: c.ttft_p99),
        ("transit p50 ms", scenario, lambda c: c.transit_p50),
        ("p99", scenario, lambda c: c.transit_p99),
        ("longest gap ms", scenario, lambda c: c.worst_gap),
        ("stalls", scenario, lambda c: c.stalls),
        ("waited %", scenario, lambda c: 100 * c.waited),
        ("MB", scenario, lambda c: c.memory_mb),
    )


_NOTE: Final = """\
Medians of the rounds. Proxies on one core, mock engines and clients on another; loopback, no TLS. *short*:
166-byte bodies, 8 tokens of JSON, 32 clients without pause; *200 kB*: 16 of them; *sse32*, *sse256*: as many
streams of 64 tokens, one each 20 ms, all starting together; *apart32*: 32 that start 5 ms apart, so that
their first tokens do not queue behind each other's. Each token carries the time at which it was sent: a gap
is what was between two of them at the client and not at the engine; a stall is one of 10 ms or more.
*waited* is the share of time in which a process of the proxy could have run and another had its core.
`ours-local` leaves parameters for the next round; `ours-pd-path` is front, decode sidecar and prefill
sidecar together; `direct-pd` is a client that does both legs itself. `-compiled` is the same with the modules
that `make compiled` compiles.
"""


def markdown(cells: Sequence[Cell]) -> str:
    tables = (_table(cells, columns) for columns in (_REQUESTS, *map(_streams, _STREAMS)))
    return "\n".join((_NOTE, *tables))


def _table(cells: Sequence[Cell], columns: Sequence[_Column]) -> str:
    """Empty if none of its loads was run."""
    names = list(dict.fromkeys(c.stack for c in cells if c.scenario in {s for _, s, _ in columns}))
    if not names:
        return ""
    lines = ["| stack | " + " | ".join(title for title, _, _ in columns) + " |"]
    lines.append("| --- |" + " --: |" * len(columns))
    for name in names:
        figures = (middle(of(cells, name, scenario), figure) for _, scenario, figure in columns)
        lines.append(f"| {name} | " + " | ".join(_shown(f) for f in figures) + " |")
    return "\n".join(lines) + "\n"


def _shown(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:.0f}" if figure >= 100 or figure == int(figure) else f"{figure:.3g}"
