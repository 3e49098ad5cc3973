"""Plots, tables, searches and foresight, by themselves."""

import io
import xml.etree.ElementTree as ET

import pytest

from fakes.simulated import conversation
from pdscale.model.pools import Bounds, GpusPerReplica, Targets
from pdscale.scaling.rivals.sighting import Limits
from pdscale.scenarios.oracles import best_split, cheapest_static
from pdscale.scenarios.progress import Bar, drawn
from pdscale.scenarios.svg import Chart, Line, decades, svg, ticks
from pdscale.scenarios.tables import aligned
from pdscale.scenarios.traffic import foreseen
from pdscale.sim.traffic import Traffic

LIMITS = Limits(Bounds(1, 6), Bounds(1, 6), GpusPerReplica(1, 1), 12)


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.5, 1) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert ticks(3, 3) == [3]
    assert decades(0.05, 3) == pytest.approx([0.05, 0.1, 0.2, 0.5, 1, 2])


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(Line("a & b", ((1.0, 0.2), (2.0, 0.9)), look=3), id="curve"),
        pytest.param(Line("steps", ((0.0, 1.0), (5.0, 2.0)), steps=True), id="steps"),
        pytest.param(Line("mark", ((1.0, 0.5),), marks=True), id="mark"),
        pytest.param(Line("nothing", ()), id="no points"),
        pytest.param(Line("idle", ((0.0, 0.0), (1.0, 0.0))), id="all zero"),
    ],
)
def test_a_plot_is_well_formed_and_stays_on_its_page(line: Line) -> None:
    for log in (False, True):
        picture = svg(Chart("A < B", "x", "y", (line,), limit=1.5, log_x=log))
        root = ET.fromstring(picture)
        assert "nan" not in picture
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for dot in root.iter("circle"):
            assert 0 <= float(dot.attrib["cx"]) <= width
            assert 0 <= float(dot.attrib["cy"]) <= height


def test_a_table_is_aligned() -> None:
    assert aligned([["name", "n"], ["a", "10"]], left=1) == "name   n\na     10\n"


def test_the_walk_along_the_border_finds_the_cheapest_fleet() -> None:
    def attained(fleet: Targets) -> float:
        return min(1.0, fleet.prefill / 2.5, fleet.decode / 3.5)

    assert cheapest_static(attained, LIMITS, target=1.0) == Targets(3, 4)
    assert cheapest_static(attained, LIMITS, target=0.5) == Targets(2, 2)


def test_an_oracle_that_cannot_attain_takes_what_attains_most() -> None:
    scarce = Limits(Bounds(1, 2), Bounds(1, 3), GpusPerReplica(1, 1), 4)
    found = cheapest_static(lambda fleet: 0.1 * (fleet.prefill + fleet.decode), scarce, target=0.9)
    assert found in (Targets(1, 3), Targets(2, 2))


def test_the_best_split_tries_all_of_them() -> None:
    tried = []

    def attained(fleet: Targets) -> float:
        tried.append(fleet)
        return 1.0 if fleet == Targets(7, 1) else 0.5

    assert best_split(attained, LIMITS, begin=Targets(4, 4)) == Targets(7, 1)
    assert tried == [Targets(p, 8 - p) for p in range(1, 8)]


def test_foresight_follows_sessions_through_their_waits() -> None:
    traffic = Traffic.of([conversation("a", 10.0, [(100, 50, 0.0), (20, 5, 7.0)])])
    future = foreseen(traffic, pace=0.1)
    # The second round comes after 50 tokens of 0.1 s and a wait of 7 s: at 22.
    second = future.between(22.0, 23.0)
    assert second == future.between(21.9, 22.9)
    assert getattr(second, "uncached_tokens", None) == 20
    assert getattr(second, "context_tokens", None) == 170


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_for_people_only() -> None:
    piped, seen = io.StringIO(), Terminal()
    for stream in (piped, seen):
        bar = Bar(4, stream)
        bar._next = 0.0
        bar.tell(1, 0.5)
        bar.clear()
    assert piped.getvalue() == ""
    assert "38%  run 2 of 4" in seen.getvalue()
    assert seen.getvalue().endswith("\r\x1b[K")
    assert drawn(4, 0.0, 4).endswith("100%  run 4 of 4")
