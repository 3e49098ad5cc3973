"""A verdict on each exporter of a history: heard now, no longer, or never. Of an idle one little is asked."""

import math
from dataclasses import replace

import pytest

from fakes.serving import traffic
from pdscale.prom.sources import Exporter, freshness
from pdscale.scaling.history import History
from pdscale_forecaster.series import Series

NOW = 1_000_000.0


def _heard(rate: float = 4.0) -> History:
    history = traffic(rate, now=NOW)
    told = Series(history.request_rate.start, history.request_rate.step, (rate,) * 120)
    return replace(history, decode_streams=told, arrived_tokens=told, arrived_tokens_squared=told)


def _ending(history: History, measure: str, *, known: int) -> History:
    """The measure's first values only."""
    series = getattr(history, measure)
    values = series.values[:known] + (math.nan,) * (len(series.values) - known)
    return replace(history, **{measure: Series(series.start, series.step, values)})


def test_who_is_heard_up_to_now_is_fresh() -> None:
    verdicts = list(freshness(_heard()))
    assert [v.exporter for v in verdicts] == [
        Exporter.FRONT,
        Exporter.FRONT,
        Exporter.SIDECARS,
        Exporter.ENGINES,
    ]
    assert all(v.fresh for v in verdicts)


@pytest.mark.parametrize(
    ("measure", "known", "fresh", "says"),
    [
        pytest.param("request_rate", 114, False, "no longer told", id="rate six steps ago"),
        pytest.param("request_rate", 115, True, "is known", id="rate five steps ago"),
        pytest.param("completed", 60, False, "completed of front routers is no longer told", id="rounds"),
        pytest.param("arrived_tokens", 0, False, "routers beside engines was never told", id="sidecars"),
        pytest.param("decode_streams", 30, False, "decode engines is no longer told", id="engines"),
    ],
)
def test_who_is_not_heard_is_named_with_the_figure_that_is_lacking(
    measure: str, known: int, fresh: bool, says: str
) -> None:
    (verdict,) = (v for v in freshness(_ending(_heard(), measure, known=known)) if measure in v.reason)
    assert verdict.fresh is fresh
    assert says in verdict.reason


def test_of_an_idle_service_only_the_rate_is_asked() -> None:
    """Engines and sidecars have nothing to tell before the first request, and may not even exist."""
    idle = _ending(_heard(rate=0.0), "decode_streams", known=0)
    assert [v.exporter for v in freshness(idle)] == [Exporter.FRONT]


def test_a_figure_that_nobody_offers_is_not_missed() -> None:
    history = replace(_heard(), arrived_tokens=None, arrived_tokens_squared=None)
    assert Exporter.SIDECARS not in [v.exporter for v in freshness(history)]
