"""Estimates that routers made of rounds, against what those rounds really computed."""

import math
from dataclasses import replace

import pytest

from pdscale.model.pools import Bounds, GpusPerReplica
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.scaling.history import History
from pdscale.scaling.outlook import Outlook, outlook
from pdscale.scaling.policy import Policy
from pdscale_forecaster.series import Series, TooShort

POLICY = Policy(
    slo=SLO(2.0, 0.05),
    prefill=Bounds(1, 8),
    decode=Bounds(1, 8),
    gpus=GpusPerReplica(1, 1),
    gpu_budget=16,
    profile=BUILTIN["llama-3.1-8b-h100"],
)


def blind(series: Series, *, horizon: float, quantile: float, model: str) -> TooShort:
    return TooShort("on purpose")


def history(*, computed: float, estimated: float, arriving: float, streams: tuple[float, float]) -> History:
    """10/s with prompts of 4000, of which so many tokens were computed, estimated, and arrive now."""

    def series(value: float) -> Series:
        return Series(0.0, 15.0, (10 * value,) * 40)

    return History(
        request_rate=series(1),
        completed=series(1),
        prompt_tokens=series(4000),
        uncached_tokens=series(computed),
        uncached_tokens_squared=series(2 * computed**2),
        output_tokens=series(100),
        output_tokens_squared=series(20_000),
        local_share=series(math.nan),
        decode_streams=Series(0.0, 15.0, (streams[0],) * 37 + (streams[1],) * 3),
        arrived_tokens=series(arriving),
        arrived_tokens_squared=series(2 * arriving**2),
        ended_estimates=series(estimated),
    )


def expected(past: History) -> Outlook:
    found = outlook(past, POLICY, blind)
    assert isinstance(found, Outlook)
    return found


def test_histories_that_were_evicted_count_as_work_of_those_that_come() -> None:
    found = expected(history(computed=1500, estimated=1000, arriving=1100, streams=(50, 50)))
    assert found.arriving.uncached_tokens == pytest.approx(1650.0)
    assert "arrive while" not in found.note  # estimates agree: it is the same mix


def test_estimates_are_compared_with_the_rounds_of_the_same_instants_only() -> None:
    whole = history(computed=1000, estimated=1000, arriving=1000, streams=(50, 50))
    assert whole.ended_estimates is not None
    lost = (*whole.ended_estimates.values[:30], *(math.nan,) * 10)
    gappy = replace(whole, ended_estimates=replace(whole.ended_estimates, values=lost))
    # Rounds of all twenty instants with estimates of the first ten would be 500 tokens each.
    assert gappy.estimated(window=300.0) == pytest.approx(1000.0)
    assert gappy.estimated(window=150.0) is None


def test_streams_are_expected_to_become_fewer_only_when_their_mix_comes_no_more() -> None:
    stays = history(computed=1000, estimated=1000, arriving=1000, streams=(300, 150))
    changes = history(computed=1000, estimated=1000, arriving=4000, streams=(300, 150))
    same, fewer = expected(stays).streams, expected(changes).streams
    assert same is not None
    assert fewer is not None
    assert same.count == pytest.approx(150.0)
    assert fewer.count < 50
