import math

import pytest

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.plan import Plan, Reason
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Role, Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import Workload


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: SLO(ttft=0, tpot=1), "slo.ttft must be above 0s, got 0s", id="ttft"),
        pytest.param(lambda: SLO(ttft=1, tpot=-1), "slo.tpot must be above 0s, got -1s", id="tpot"),
        pytest.param(lambda: SLO(1, 1, 1.0), "slo.attainment must be between 0 and 1, got 1.0", id="share"),
        pytest.param(
            lambda: Bounds(3, 2), r"maxReplicas must be at least minReplicas \(3\), got 2", id="bounds"
        ),
        pytest.param(lambda: Targets(-1, 2), r"targets must be at least 0, got -1P\+2D", id="targets"),
        pytest.param(
            lambda: GpusPerReplica(1, 0), "decode.gpusPerReplica must be at least 1, got 0", id="gpus"
        ),
        pytest.param(
            lambda: Workload(math.nan, 1, 1, 1, 1, 1), "workload.request_rate must be finite", id="nan"
        ),
    ],
)
def test_nonsense_is_refused_by_name_value_and_bound(make, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_a_stage_that_changes_nothing_leaves_no_step() -> None:
    plan = Plan(Targets(1, 2))
    assert plan.then(Reason.BOUNDED, Targets(1, 2)) is plan
    grown = plan.then(Reason.FORECAST_DEMAND, Targets(2, 2), "5/s").then(Reason.BOUNDED, Targets(2, 1))
    assert grown.trail == "ForecastDemand 2P+2D (5/s) -> Bounded 2P+1D"


def test_a_pool_holds_what_is_asked_for_and_what_has_not_ended() -> None:
    assert PoolState(desired=3, ready=1, starting=1).holding == 3  # one pod is not even created yet
    assert PoolState(desired=1, ready=2, terminating=1).holding == 3  # shrinking, nothing gone so far


def test_a_view_lists_endpoints_by_name() -> None:
    view = ClusterView((Endpoint("d-2", "10.0.0.2", Role.DECODE), Endpoint("d-1", "10.0.0.1", Role.DECODE)))
    assert [e.name for e in view.of(Role.DECODE)] == ["d-1", "d-2"]
    assert view.named("d-3") is None
