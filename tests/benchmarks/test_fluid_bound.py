"""The bound on what any placement can have in time is above everything that can be had."""

from itertools import combinations

import pytest
from benchmarks.questions.fluid import Job, least_work, most_in_time
from hypothesis import given
from hypothesis import strategies as st

from pdscale.perf.builtin import BUILTIN
from pdscale.sim.limits import EngineSetup

SETUP = EngineSetup(BUILTIN["llama-3.1-8b-h200"])
jobs = st.lists(
    st.builds(lambda work, begin, span: Job(work, begin, begin + span), *([st.integers(1, 8)] * 3)),
    min_size=1,
    max_size=6,
)


def fits(chosen: tuple[Job, ...], servers: int) -> bool:
    """Interruptible work fits if no stretch of time has more than its own to do."""
    begins, ends = {j.begin for j in chosen}, {j.end for j in chosen}
    stretches = ((b, e) for b in begins for e in ends if b < e)
    return all(
        sum(j.work for j in chosen if b <= j.begin and j.end <= e) <= servers * (e - b) for b, e in stretches
    )


@given(jobs, st.integers(1, 3))
def test_no_choice_of_rounds_that_fits_is_larger(all_jobs: list[Job], servers: int) -> None:
    bound = most_in_time(all_jobs, servers=servers)
    most = max(
        n
        for n in range(len(all_jobs) + 1)
        if any(fits(chosen, servers) for chosen in combinations(all_jobs, n))
    )
    assert bound >= most / len(all_jobs) - 1e-9
    assert bound <= 1 + 1e-9


def test_of_two_that_exclude_one_another_one_counts_and_the_rest_of_its_room() -> None:
    assert most_in_time([Job(3, 0, 4), Job(1, 0, 4)], servers=1) == 1
    # The short one, and three quarters of the long one: 4 s of room.
    assert most_in_time([Job(4, 0, 4), Job(1, 0, 4)], servers=1) == pytest.approx((1 + 3 / 4) / 2)
    assert most_in_time([Job(4, 0, 4), Job(1, 0, 4)], servers=2) == 1


def test_no_rounds_are_all_in_time() -> None:
    assert most_in_time([], servers=1) == 1


def test_least_work_is_below_what_a_round_takes_alone_and_grows_with_its_lengths() -> None:
    model = SETUP.model
    work = least_work(SETUP, new=1000, history=0, output=100)
    assert 0 < work < model.prefill_seconds(1000) + 100 * model.step_seconds(1, 1100)
    assert least_work(SETUP, new=20_000, history=0, output=100) > 20 * (
        least_work(SETUP, new=1000, history=0, output=1)
    )
    assert least_work(SETUP, new=1000, history=9000, output=100) > work
