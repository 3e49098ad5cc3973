"""The bench of many objects: its stand-in for a metrics server, its cluster's size, its percentiles."""

import math

import pytest
from benchmarks.scale.figures import percentile
from benchmarks.scale.metrics_server import matrix, measures
from benchmarks.scale.stage import DECODE, PREFILL, ROUTERS, Size

from pdscale.prom.answers import by_measure
from pdscale.prom.client import MEASURES
from pdscale.prom.grid import Grid


def test_the_stand_in_tells_the_operators_own_reader_a_steady_load() -> None:
    grid = Grid.ending(1_700_000_000.0, window=600.0, step=15.0)
    said = matrix(measures(9.0), start=grid.start, end=grid.end, step=grid.step)
    columns = by_measure(said, grid, MEASURES)
    assert list(columns["request_rate"]) == [9.0] * grid.samples
    assert all(math.isnan(value) for value in columns["local_share"])


def test_a_cluster_has_a_place_for_every_pod() -> None:
    size = Size(objects=500, nodes=1000)
    specs = size.specs()
    assert len(specs) == len({spec.name for spec in specs}) == 1000
    assert size.pods == 5000
    assert sum(spec.gpus for spec in specs) >= 500 * (PREFILL + DECODE)
    assert sum(spec.pods for spec in specs if spec.gpus == 0) >= 500 * ROUTERS


def test_too_few_nodes_are_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(ValueError, match=r"nodes must be at least 118 for 100 objects, got 50"):
        Size(objects=100, nodes=50)


def test_a_percentile_lies_between_the_bounds_of_its_bucket() -> None:
    buckets = [(0.5, 50.0), (1.0, 90.0), (2.5, 100.0), (math.inf, 100.0)]
    assert percentile(buckets, 0.5) == 0.5
    assert percentile(buckets, 0.99) == pytest.approx(1.0 + 1.5 * 0.9)
    assert percentile([(0.5, 0.0), (math.inf, 4.0)], 0.99) == 0.5, "all that is known is a bound from below"
