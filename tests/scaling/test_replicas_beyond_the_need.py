"""Spare replicas, reserved GPUs and scheduled minimums: what they add, and to what they yield."""

import math
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from pdscale.model.plan import Reason
from pdscale.model.pools import Bounds, GpusPerReplica, PoolState, Targets
from pdscale.model.slo import SLO
from pdscale.model.workload import NoData
from pdscale.perf.builtin import BUILTIN
from pdscale.scaling.autoscaler import Autoscaler, Decision, Observation
from pdscale.scaling.history import History
from pdscale.scaling.policy import Policy
from pdscale.scaling.schedule import Schedule
from pdscale_forecaster.series import Series, TooShort

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()  # a Monday
STEP = 15.0
NEED = Targets(2, 3)  # of 6.5/s


def policy(**changes: object) -> Policy:
    settings: dict[str, object] = {
        "slo": SLO(2.0, 0.065),
        "prefill": Bounds(1, 8),
        "decode": Bounds(1, 8),
        "gpus": GpusPerReplica(1, 1),
        "gpu_budget": 12,
        "profile": BUILTIN["llama-2-70b-a100-tp8-2023"],
        "scale_down_window": 0.0,
        "either_prefills": False,  # where it may, a split is chosen: test_a_fixed_total.py
    }
    return Policy(**{**settings, **changes})  # type: ignore[arg-type]


def history(rate: float) -> History:
    """Lengths of the Azure conversation trace."""

    def series(value: float) -> Series:
        return Series(NOW - 39 * STEP, STEP, (value,) * 40)

    return History(
        request_rate=series(rate),
        completed=series(rate),
        prompt_tokens=series(1155 * rate),
        uncached_tokens=series(1155 * rate),
        uncached_tokens_squared=series(2.563e6 * rate),
        output_tokens=series(211 * rate),
        output_tokens_squared=series(7.11e4 * rate),
        local_share=series(math.nan),
        decode_streams=series(math.nan),
    )


def decide(past: History | NoData, current: Targets = NEED, *, times: int = 2, **changes: object) -> Decision:
    """The last of some decisions in a row, as growth is asked for twice."""
    scaler = Autoscaler(predict=lambda *_, **__: TooShort("on purpose"))
    pools = [PoolState(n, ready=n) for n in (current.prefill, current.decode)]
    for second in range(times):
        found = scaler.decide(policy(**changes), Observation(*pools, past), NOW + second)
    return found


def test_the_need_without_any_extra() -> None:
    assert decide(history(6.5)).wanted == NEED


# -- spare


def test_spare_replicas_come_on_top_of_the_need_and_the_trail_says_so() -> None:
    found = decide(history(6.5), spare=Targets(0, 1))
    assert found.wanted == Targets(2, 4)
    assert (found.plan.steps[-1].reason, found.plan.steps[-1].note) == (
        Reason.SPARE,
        "0P+1D beyond the need",
    )


def test_spare_replicas_that_are_there_are_neither_multiplied_nor_taken_for_need() -> None:
    assert decide(history(6.5), Targets(2, 4), spare=Targets(0, 1)).wanted == Targets(2, 4)
    # 10/s need a decode replica more: the spare one is not what serves them.
    assert decide(history(10.0), Targets(3, 4), spare=Targets(0, 1)).wanted.decode == 5


def test_spare_replicas_yield_to_a_short_budget_before_anything_that_is_needed() -> None:
    assert decide(history(6.5), spare=Targets(2, 2), gpu_budget=6).wanted == Targets(2, 4)
    assert decide(history(6.5), spare=Targets(2, 2), gpu_budget=5).wanted == NEED


def test_spare_replicas_yield_to_the_maximum() -> None:
    assert decide(history(6.5), spare=Targets(0, 4), decode=Bounds(1, 4)).wanted == Targets(2, 4)


# -- reserved


def test_reserved_gpus_are_used_by_the_stage_that_is_scarcer() -> None:
    found = decide(history(6.5), reserved_gpus=8)
    assert found.wanted in (Targets(3, 5), Targets(4, 4))
    assert found.demand is not None
    assert "8 GPUs are reserved" in found.plan.trail


def test_what_is_beyond_the_need_keeps_its_role_until_the_other_stage_needs_it() -> None:
    assert decide(history(6.5), Targets(5, 3), reserved_gpus=8).wanted == Targets(5, 3)
    assert decide(history(6.5), Targets(6, 2), reserved_gpus=8, flip=2.0).wanted == Targets(5, 3)


def test_reserved_gpus_are_used_while_nobody_asks_for_anything() -> None:
    assert decide(history(0.0), Targets(3, 5), reserved_gpus=8).wanted == Targets(3, 5)
    assert decide(history(0.0), Targets(1, 1), reserved_gpus=8).wanted == Targets(4, 4)


def test_reserved_gpus_end_at_the_maximums() -> None:
    found = decide(history(6.5), reserved_gpus=12, prefill=Bounds(1, 3), decode=Bounds(1, 4))
    assert found.wanted == Targets(3, 4)


def test_a_replica_that_no_longer_fits_in_what_is_reserved_is_not_added() -> None:
    found = decide(history(6.5), reserved_gpus=9, gpus=GpusPerReplica(2, 1), gpu_budget=20)
    assert found.wanted.prefill * 2 + found.wanted.decode == 9


def test_more_may_be_needed_than_is_reserved() -> None:
    assert decide(history(6.5), reserved_gpus=3).wanted == NEED


def test_more_cannot_be_reserved_than_the_budget_allows() -> None:
    with pytest.raises(ValueError, match=r"reservedGpus must be in 0\.\.gpuBudget \(12\), got 13"):
        policy(reserved_gpus=13)


def test_missing_metrics_hold_what_is_there_whatever_is_reserved() -> None:
    found = decide(NoData("prometheus is away"), Targets(2, 2), reserved_gpus=8, spare=Targets(1, 1))
    assert found.apply == Targets(2, 2)


# -- schedules


def hours(least: Targets, start: str = "08:00", end: str = "18:00") -> Schedule:
    return Schedule(least, time.fromisoformat(start), time.fromisoformat(end), ZoneInfo("Etc/UTC"))


def test_a_schedule_raises_the_minimum_at_its_hours_and_the_trail_says_so() -> None:
    found = decide(history(6.5), schedules=(hours(Targets(1, 6)),))
    assert found.wanted == Targets(2, 6)
    assert found.plan.steps[0].reason is Reason.SCHEDULED
    assert "at least 1P+6D now" in found.plan.trail


def test_at_other_hours_a_schedule_says_nothing() -> None:
    found = decide(history(6.5), schedules=(hours(Targets(1, 6), "13:00"),))
    assert found.wanted == NEED
    assert "Scheduled" not in found.plan.trail


def test_a_schedule_is_kept_while_no_request_has_come_yet() -> None:
    assert decide(history(0.0), Targets(1, 1), schedules=(hours(Targets(2, 4)),)).wanted == Targets(2, 4)


def test_a_schedule_never_asks_for_more_than_the_budget() -> None:
    found = decide(history(6.5), schedules=(hours(Targets(8, 8)),), gpu_budget=6)
    assert found.wanted.prefill + found.wanted.decode == 6
