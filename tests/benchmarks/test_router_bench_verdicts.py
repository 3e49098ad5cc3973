"""How cells become verdicts."""

from dataclasses import fields
from pathlib import Path

from benchmarks.router.cells import Cell
from benchmarks.router.pairs import with_compiled
from benchmarks.router.stacks import STACKS
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


def test_streams_that_start_apart_are_judged_by_the_direct_run_of_the_same_kind() -> None:
    cells = [
        cell("direct", "sse32", ttft_p99=9.0),
        cell("direct", "apart32", ttft_p99=1.0),
        cell("ours-front", "apart32", ttft_p99=1.5),
    ]
    assert value(cells, "TTFT p99 added over direct, ours-front") == (0.5, True)


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


def test_goals_are_the_same_for_what_is_compiled() -> None:
    cells = [
        *(cell("nginx", cpu_us=20), cell("ours-front", cpu_us=60), cell("ours-front-compiled", cpu_us=29)),
        *(
            cell("vllm-router-pd", cpu_us=100),
            cell("ours-pd", cpu_us=150),
            cell("ours-pd-compiled", cpu_us=90),
        ),
    ]
    rust = "the cheaper Rust router in P/D mode"
    assert value(cells, "CPU per request, ours-front / nginx") == (3, False)
    assert value(cells, "CPU per request, ours-front-compiled / nginx") == (1.45, True)
    assert value(cells, f"CPU per request, ours-pd-compiled / {rust}") == (0.9, False)
    assert value(cells, "CPU per request, ours-pd-compiled / ours-pd") == (0.6, None)


def test_a_compiled_split_stack_is_compared_with_the_split_direct_run() -> None:
    cells = [
        cell("direct", "apart32", ttft_p99=1.0),
        cell("direct-pd", "apart32", ttft_p99=2.0),
        cell("ours-pd-compiled", "apart32", ttft_p99=2.5),
    ]
    assert value(cells, "TTFT p99 added over direct, ours-pd-compiled") == (0.5, True)


def test_compiled_twins_stand_beside_ours_and_import_from_their_own_place() -> None:
    places = {stack.name: stack.imports for stack in with_compiled(STACKS, Path("made"))}
    twins = [name for name, place in places.items() if place == Path("made")]
    assert set(twins) == {f"ours-{what}-compiled" for what in ("sidecar", "front", "pd", "pd-path")}
    assert [name for name in places if name not in twins] == [stack.name for stack in STACKS]
    names = list(places)
    assert all(names.index(twin) == names.index(twin.removesuffix("-compiled")) + 1 for twin in twins)
