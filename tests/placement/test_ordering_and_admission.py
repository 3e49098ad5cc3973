"""Queues in front of a prefill engine: who goes next, who can be passed, who is refused."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.placement.admission import Admission
from pdscale.placement.fewest_late import FewestLate
from pdscale.placement.ordering import (
    FCFS,
    AMPDWindow,
    EarliestDeadline,
    PrefillLeg,
    Queue,
    ShortestRemaining,
    Sorted,
)
from pdscale.placement.policy import Busy, BusyReason

QUEUES: dict[str, Callable[[], Queue]] = {
    "FCFS": lambda: Sorted(FCFS()),
    "EarliestDeadline": lambda: Sorted(EarliestDeadline()),
    "ShortestRemaining": lambda: Sorted(ShortestRemaining()),
    "AMPDWindow": AMPDWindow,
    "FewestLate": FewestLate,
}
queues = pytest.mark.parametrize("new", QUEUES.values(), ids=QUEUES)


def leg(seconds: float, arrived: float = 0.0, limit: float = 2.0) -> PrefillLeg:
    return PrefillLeg(arrived, seconds, arrived + limit)


def order(queue: Queue, *legs: PrefillLeg, now: float = 0.0) -> list[int]:
    """Indexes in the order of leaving; each leg is run before the next is chosen."""
    for one in legs:
        queue.push(one)
    left = []
    while queue:
        found = queue.pop(now)
        now += found.seconds
        left.append(legs.index(found))
    return left


def test_fcfs_goes_by_arrival() -> None:
    assert order(Sorted(FCFS()), leg(3), leg(1), leg(2)) == [0, 1, 2]


def test_deadlines_may_differ_from_arrival() -> None:
    assert order(Sorted(EarliestDeadline()), leg(1, limit=9), leg(1, limit=3), leg(1, 1, limit=3)) == [
        1,
        2,
        0,
    ]


def test_the_shortest_goes_first_and_age_counts() -> None:
    assert order(Sorted(ShortestRemaining()), leg(3), leg(1), leg(2)) == [1, 2, 0]
    # 0.03 * 10 s of waiting outweigh 0.25 s of size.
    assert order(Sorted(ShortestRemaining()), leg(0.3, 0), leg(0.05, 10)) == [0, 1]


def test_the_window_saves_most_deadlines_and_keeps_arrival_among_equals() -> None:
    # In order of arrival only the first would be in time (1.9 s, then 2.4 s and 2.8 s).
    assert order(AMPDWindow(), leg(1.9), leg(0.5), leg(0.4)) == [1, 2, 0]
    assert order(AMPDWindow(), leg(0.5), leg(0.4), leg(0.3)) == [0, 1, 2]


def test_the_window_sees_three_only() -> None:
    assert order(AMPDWindow(), leg(1.9), leg(1.9), leg(1.9), leg(0.1))[0] == 0


def test_a_leg_is_passed_over_no_more_often_than_the_window_is_wide() -> None:
    queue, long = AMPDWindow(), leg(9, limit=1)
    queue.push(long)
    for _ in range(20):
        queue.push(leg(0.1, limit=0.5))
    popped = [queue.pop(0.0) for _ in range(4)]
    assert popped.index(long) == 3


arrivals = st.lists(st.tuples(st.floats(0, 5), st.floats(0.001, 10)), min_size=1, max_size=40)


@given(arrivals, st.floats(0.01, 2.0))
def test_nobody_is_passed_by_a_leg_that_came_more_than_its_size_over_the_ageing_later(
    steps: list[tuple[float, float]], ageing: float
) -> None:
    queue, now, waiting = Sorted(ShortestRemaining(ageing)), 0.0, set()
    rng = random.Random(len(steps))
    for gap, size in steps:
        now += gap
        new = leg(size, now)
        queue.push(new)
        waiting.add(new)
        while waiting and rng.random() < 0.5:
            served = queue.pop(now)
            waiting.discard(served)
            for other in waiting:
                assert served.arrived - other.arrived <= other.seconds / ageing + 1e-6


@queues
@given(st.lists(st.tuples(st.sampled_from(["push", "pop", "discard"]), st.floats(0.01, 5)), max_size=80))
def test_every_leg_leaves_once_and_the_work_is_what_waits(
    new: Callable[[], Queue], steps: list[tuple[str, float]]
) -> None:
    queue, waiting = new(), []
    for now, (step, size) in enumerate(steps):
        if step == "push":
            waiting.append(leg(size, float(now)))
            queue.push(waiting[-1])
        elif step == "pop" and waiting:
            waiting.remove(queue.pop(float(now)))
        elif waiting:
            queue.discard(waiting.pop(int(size * 7) % len(waiting)))
        assert len(queue) == len(waiting)
        assert queue.work == pytest.approx(sum(one.seconds for one in waiting))
    assert {queue.pop(99.0) for _ in list(waiting)} == set(waiting)


@queues
def test_an_empty_queue_has_nobody_next(new: Callable[[], Queue]) -> None:
    with pytest.raises(IndexError, match="empty queue"):
        new().pop(0.0)


@queues
def test_who_is_not_here_can_be_discarded_twice(new: Callable[[], Queue]) -> None:
    queue, one = new(), leg(1)
    queue.push(one)
    queue.discard(one)
    queue.discard(one)
    assert len(queue) == 0


def test_what_runs_ahead_of_a_leg_is_what_has_the_smaller_key() -> None:
    queue = Sorted(ShortestRemaining())
    for seconds in (0.1, 0.5, 2.0):
        queue.push(leg(seconds))
    assert queue.ahead(leg(1.0)) == pytest.approx(0.6)


def test_short_legs_do_not_wait_behind_a_heap_of_long_ones() -> None:
    long, short = [leg(4.0, i / 10) for i in range(10)], leg(0.05, 2.0)
    queue = Sorted(ShortestRemaining())
    for one in (*long, short):
        queue.push(one)
    assert queue.pop(2.0) is short


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ShortestRemaining(0), "ageing must be above 0, got 0"),
        (lambda: AMPDWindow(0), r"window must be in 1\.\.6, got 0"),
        (lambda: FewestLate(ageing=0), "ageing must be above 0, got 0"),
        (lambda: FewestLate(alpha=1.1), r"alpha must be above 0 and at most 1, got 1\.1"),
        (lambda: leg(-1), "leg.seconds must be at least 0, got -1"),
        (lambda: Admission(Sorted(FCFS()), at_once=0), r"admission\.at_once must be at least 1, got 0"),
    ],
)
def test_senseless_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_the_engine_has_so_many_at_a_time_and_the_next_as_one_ends() -> None:
    admission = Admission(Sorted(FCFS()), at_once=2)
    legs = [leg(1) for _ in range(4)]
    for one in legs:
        assert admission.offer(one, 0.0) is None
    assert [admission.next(0.0) for _ in range(3)] == [legs[0], legs[1], None]
    admission.ended(legs[1], 0.5)
    assert admission.next(0.5) is legs[2]
    assert admission.next(0.5) is None
    assert admission.admitted == 2


def test_a_client_that_leaves_the_queue_makes_room_for_nobody_but_itself() -> None:
    admission = Admission(Sorted(FCFS()), at_once=1)
    legs = [leg(1) for _ in range(3)]
    for one in legs:
        admission.offer(one, 0.0)
    admission.next(0.0)
    admission.ended(legs[1], 0.1)
    assert admission.next(0.1) is None
    admission.ended(legs[0], 1.0)
    assert admission.next(1.0) is legs[2]


def test_a_full_queue_refuses() -> None:
    admission = Admission(Sorted(FCFS()), most_waiting=1)
    assert admission.offer(leg(1), 0.0) is None
    assert admission.offer(leg(1), 0.0) == Busy(BusyReason.QUEUE_FULL, 429)


def test_a_leg_that_would_be_late_is_refused_if_that_is_wanted() -> None:
    for wanted in (False, True):
        admission = Admission(Sorted(FCFS()), at_once=1, reject_late=wanted)
        admission.offer(leg(1.5), 0.0)
        admission.next(0.0)
        # 1.5 s on the engine, then 0.6 s of its own: 2.1 s for a limit of 2 s.
        verdict = admission.offer(leg(0.6), 0.0)
        assert verdict == (Busy(BusyReason.TOO_LATE, 429) if wanted else None)
        assert admission.offer(leg(0.4), 0.0) is None or not wanted


def test_a_short_leg_is_judged_by_its_own_place_in_the_queue() -> None:
    admission = Admission(Sorted(ShortestRemaining()), reject_late=True, at_once=1)
    for _ in range(4):
        admission.offer(leg(1.0, limit=10), 0.0)
    assert admission.offer(leg(0.1, limit=0.5), 0.0) is None


def test_an_engine_that_is_quicker_than_predicted_is_believed() -> None:
    admission = Admission(Sorted(FCFS()), at_once=1, reject_late=True)
    first = leg(1.9)
    admission.offer(first, 0.0)
    admission.next(0.0)
    assert admission.backlog(0.0) == pytest.approx(1.9)
    admission.ended(first, 0.2)
    assert admission.backlog(0.2) == 0.0
    assert admission.offer(leg(1.0, 0.2), 0.2) is None


@queues
@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 3)), max_size=60), st.integers(1, 4))
def test_no_leg_is_lost_or_run_twice(
    new: Callable[[], Queue], steps: list[tuple[bool, float]], at_once: int
) -> None:
    admission, offered, running, done = Admission(new(), at_once=at_once), [], [], []
    for now, (arrives, size) in enumerate(steps):
        if arrives:
            offered.append(leg(size, float(now)))
            assert admission.offer(offered[-1], float(now)) is None
        elif running:
            done.append(running.pop(0))
            admission.ended(done[-1], float(now))
        while (found := admission.next(float(now))) is not None:
            running.append(found)
        assert len(running) == min(at_once, len(offered) - len(done))
    assert len(set(done) | set(running)) == len(done) + len(running)
