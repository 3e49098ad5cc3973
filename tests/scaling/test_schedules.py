"""Hours of the week on somebody's clock, and what they ask for beside bounds and budget."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from pdscale.model.pools import Bounds, GpusPerReplica, Role, Targets
from pdscale.scaling.schedule import Schedule, floor_of, raised

BERLIN = ZoneInfo("Europe/Berlin")
WEEKDAYS = frozenset(range(5))


def at(text: str) -> float:
    """Epoch seconds of an instant, UTC unless it says otherwise."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def hours(start: str, end: str, *, zone: str = "Etc/UTC", days: frozenset[int] = WEEKDAYS) -> Schedule:
    return Schedule(Targets(2, 4), time.fromisoformat(start), time.fromisoformat(end), ZoneInfo(zone), days)


@pytest.mark.parametrize(
    ("instant", "within"),
    [
        ("2026-03-02T07:59:59", False),
        ("2026-03-02T08:00:00", True),  # a Monday
        ("2026-03-02T17:59:59", True),
        ("2026-03-02T18:00:00", False),
        ("2026-03-07T12:00:00", False),  # a Saturday
    ],
)
def test_hours_begin_and_end_on_the_minute_of_their_days(instant: str, within: bool) -> None:
    assert hours("08:00", "18:00").holds(at(instant)) is within


@pytest.mark.parametrize(
    ("instant", "within"),
    [
        ("2026-03-06T23:30:00", True),  # Friday night
        ("2026-03-07T05:59:00", True),  # into Saturday
        ("2026-03-07T06:00:00", False),
        ("2026-03-07T23:00:00", False),  # Saturday is not among the days
        ("2026-03-09T03:00:00", False),  # nor did Sunday's night begin on one
    ],
)
def test_hours_that_pass_midnight_belong_to_the_day_on_which_they_begin(instant: str, within: bool) -> None:
    assert hours("22:00", "06:00").holds(at(instant)) is within


def test_hours_that_end_when_they_begin_are_a_whole_day() -> None:
    whole = hours("09:00", "09:00", days=frozenset({0}))
    assert whole.holds(at("2026-03-02T09:00:00"))
    assert whole.holds(at("2026-03-03T08:59:00"))
    assert not whole.holds(at("2026-03-03T09:00:00"))
    assert not whole.holds(at("2026-03-02T08:59:00"))


def test_the_clock_is_that_of_the_zone_summer_and_winter() -> None:
    morning = hours("08:00", "09:00", zone="Europe/Berlin")
    assert morning.holds(at("2026-01-05T07:30:00"))
    assert not morning.holds(at("2026-07-06T07:30:00"))
    assert morning.holds(at("2026-07-06T06:30:00"))


def test_a_floor_is_in_force_a_lead_time_before_its_hours() -> None:
    schedules = [hours("08:00", "18:00")]
    before = at("2026-03-02T07:59:00")
    assert floor_of(Role.DECODE, schedules, now=before, lead=59.0) == 0
    assert floor_of(Role.DECODE, schedules, now=before, lead=60.0) == 4
    assert floor_of(Role.PREFILL, schedules, now=at("2026-03-02T17:59:30"), lead=60.0) == 2


def test_of_several_floors_the_highest_counts() -> None:
    day, noon = hours("08:00", "18:00"), hours("12:00", "13:00")
    busy = Schedule(Targets(3, 1), noon.start, noon.end, noon.zone, noon.days)
    found = [
        floor_of(role, [day, busy], now=at("2026-03-02T12:30:00"), lead=0.0)
        for role in (Role.PREFILL, Role.DECODE)
    ]
    assert found == [3, 4]


@pytest.mark.parametrize(
    ("floor", "least"),
    [
        pytest.param(Targets(0, 0), Targets(1, 1), id="never below the minimums"),
        pytest.param(Targets(2, 3), Targets(2, 3), id="as asked"),
        pytest.param(Targets(9, 2), Targets(4, 2), id="never above the maximums"),
        pytest.param(Targets(4, 6), Targets(4, 4), id="the larger holder yields to the budget"),
    ],
)
def test_minimums_in_force_fit_between_the_others(floor: Targets, least: Targets) -> None:
    gpus, prefill, decode = GpusPerReplica(1, 1), Bounds(1, 4), Bounds(1, 8)
    assert raised(floor, prefill=prefill, decode=decode, gpus=gpus, budget=8) == least


def test_a_budget_below_the_minimums_takes_nothing_from_them() -> None:
    found = raised(
        Targets(3, 3), prefill=Bounds(2, 4), decode=Bounds(2, 4), gpus=GpusPerReplica(1, 1), budget=3
    )
    assert found == Targets(2, 2)
