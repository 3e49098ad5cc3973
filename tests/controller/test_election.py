"""Who may take the Lease and until when its holder writes, by table and with the clock in the test's hand."""

import math

import pytest

from pdscale.controller.election import LEASE, LOOK_EVERY, WRITING, Sight, Tenure
from pdscale.kube.lease import Lease


def lease(holder: str, *, renewed: str = "a", seconds: float = 10, term: int = 3) -> Lease:
    return Lease(holder, seconds, term, renewed, version="7")


@pytest.mark.parametrize(
    ("seen", "waits"),
    [
        pytest.param(lease("other"), 10, id="held"),
        pytest.param(lease("other", seconds=4), 4, id="its_holder_promised_less"),
        pytest.param(lease("other", seconds=0), LEASE, id="its_holder_promised_nothing"),
        pytest.param(lease(""), 0, id="given_back"),
        pytest.param(lease("me"), 0, id="our_own"),
    ],
)
def test_a_candidate_waits_from_when_it_first_saw_the_lease(seen: Lease, waits: float) -> None:
    assert Sight().free_in(seen, "me", now=100.0) == waits


def test_each_renewal_starts_the_wait_anew_whatever_its_time_says() -> None:
    sight = Sight()
    sight.free_in(lease("other", renewed="2026-01-01T00:00:00Z"), "me", now=0.0)
    assert sight.free_in(lease("other", renewed="2026-01-01T00:00:00Z"), "me", now=9.0) == 1.0
    assert sight.free_in(lease("other", renewed="1970-01-01T00:00:00Z"), "me", now=9.5) == 10.0
    assert sight.free_in(lease("other", renewed="1970-01-01T00:00:00Z"), "me", now=19.5) == 0.0


def test_a_holder_writes_for_two_thirds_of_the_lease_from_when_it_asked() -> None:
    now = 5.0
    tenure = Tenure(lambda: now, "me")
    assert tenure.left() == -math.inf
    tenure.extend(lease("me", seconds=9), sent=3.0)
    assert tenure.left() == 4.0
    now = 9.0
    assert tenure.left() == 0.0
    tenure.extend(lease("me", seconds=9), sent=8.0)
    tenure.end()
    assert tenure.left() == -math.inf


def test_nobody_takes_the_lease_while_its_holder_may_still_write() -> None:
    """The candidate saw the renewal at the earliest when it was sent; two clocks may differ by any offset."""
    for offset in (-1e6, 0.0, 1e6):
        sent, now = 50.0, 50.0
        tenure = Tenure(lambda: now, "holder")  # noqa: B023
        sight = Sight()
        tenure.extend(lease("holder"), sent=sent)
        sight.free_in(lease("holder"), "me", now=sent + offset)
        while sight.free_in(lease("holder"), "me", now=now + offset) > 0:
            now += 0.5
        assert tenure.left() <= -(1 - WRITING) * LEASE


def test_the_sum_of_the_waits_leaves_seconds_for_the_start_of_the_next() -> None:
    assert LEASE + LOOK_EVERY <= 15 - 4
