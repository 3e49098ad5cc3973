"""How cells become verdicts."""

from dataclasses import fields

from benchmarks.router.cells import Cell
from benchmarks.router.verdicts import markdown, rows


def cell(stack: str, scenario: str = "short", number: int = 0, **figures: float) -> Cell:
    values = {f.name: 0 for f in fields(Cell)} | {"stack": stack, "scenario": scenario, "round": number}
    return Cell(**values | figures)  # type: ignore[arg-type]


def value(cells: list[Cell], metric: str) -> tuple[float, bool | None]:
    return next((r.value, r.ok) for r in rows(cells) if r.metric == metric)


def test_a_split_round_is_compared_with_the_cheaper_rust_router_of_its_round() -> None:
    cells = [
        *(cell("ours-pd", number=n, cpu_us=us) for n, us in enumerate((40, 60, 50))),
        *(cell("vllm-router-pd", number=n, cpu_us=us) for n, us in enumerate((200, 100, 100))),
        *(cell("sglang-router-pd", number=n, cpu_us=us) for n, us in enumerate((100, 200, 200))),
    ]
    metric = "CPU per request, ours-pd / the cheaper Rust router in P/D mode"
    assert value(cells, metric) == (0.5, False)


def test_a_missing_peer_leaves_no_verdict() -> None:
    assert not [r for r in rows([cell("ours-sidecar", cpu_us=20)]) if "nginx" in r.metric]


def test_added_delay_is_over_the_direct_run_of_the_same_kind() -> None:
    cells = [
        cell("direct", "sse32", ttft_p99=1.0),
        cell("direct-pd", "sse32", ttft_p99=2.0),
        cell("ours-front", "sse32", ttft_p99=2.5),
        cell("ours-pd", "sse32", ttft_p99=2.5),
    ]
    assert value(cells, "TTFT p99 added over direct, ours-front") == (1.5, False)
    assert value(cells, "TTFT p99 added over direct, ours-pd") == (0.5, True)


def test_one_stall_misses_the_goal() -> None:
    cells = [cell("ours-front", "sse32", n, stalls=n, worst_gap=12.0) for n in range(2)]
    assert value(cells, "stalls of 10 ms or more, ours-front") == (1, False)


def test_a_stack_that_was_not_measured_under_a_load_has_an_empty_field() -> None:
    line = next(x for x in markdown([cell("nginx", cpu_us=20.5)]).splitlines() if x.startswith("| nginx"))
    assert line.startswith("| nginx | 20.5 |")
    assert line.endswith("|  |  |  |  |")


def test_streams_on_a_busy_machine_are_not_judged() -> None:
    found = rows([cell("ours-front", "sse32", stalls=7, waited=0.4)])
    row = next(r for r in found if r.metric.startswith("stalls"))
    assert (row.value, row.ok) == (7, None)
    assert row.config.startswith("not judged (<= 0): waited 40%")
