import pytest

from pdscale.emulator.leases import Leases


def test_a_lease_ends_when_its_time_is_up() -> None:
    leases = Leases()
    leases.grant("r", (1, 2), until=30)
    assert leases.next_expiry == 30
    assert leases.expire(29.9) == []
    assert [lease.blocks for lease in leases.expire(30)] == [(1, 2)]
    assert leases.expire(30) == []
    assert leases.next_expiry is None


def test_a_heartbeat_prolongs_and_never_shortens() -> None:
    leases = Leases()
    leases.grant("r", (1,), until=30)
    leases.renew(["r", "stranger"], until=50)
    leases.renew(["r"], until=40)
    assert leases.next_expiry == 50


def test_a_reader_ends_a_lease_once_and_a_stranger_none() -> None:
    leases = Leases()
    leases.grant("r", (1,), until=30)
    assert (leases.end("stranger"), leases.end("r"), leases.end("r")) == ((), (1,), ())


def test_a_late_reader_is_told_from_a_stranger() -> None:
    leases = Leases()
    leases.grant("r", (1,), until=30)
    leases.expire(31)
    leases.renew(["r"], until=90)
    assert (leases.came_too_late("r"), leases.came_too_late("stranger")) == (True, False)
    assert len(leases) == 0


def test_two_leases_of_one_request_are_a_mistake() -> None:
    leases = Leases()
    leases.grant("r", (1,), until=30)
    with pytest.raises(ValueError, match="exists already"):
        leases.grant("r", (2,), until=30)
