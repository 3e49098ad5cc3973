"""A decode replica's log of sessions, and front routers that learn from it."""

import pytest

from pdscale.model.cluster import ClusterView, Endpoint
from pdscale.model.pools import Role
from pdscale.placement.binding import Bindings
from pdscale.placement.session_log import SessionLog

VIEW = ClusterView(tuple(Endpoint(name, "10.0.0.1", Role.DECODE) for name in ("d1", "d2", "d3")))


def bound(bindings: Bindings, session: str, now: float) -> str:
    chosen = bindings.bind(session, VIEW, now=now)
    assert isinstance(chosen, Endpoint)
    return chosen.name


def test_a_question_without_a_mark_gets_everything_and_the_next_one_only_what_is_new() -> None:
    log = SessionLog()
    log.note("a", 1.0)
    log.note("b", 2.0)
    first = log.since("", 5.0)
    assert dict(first.ago) == {"b": 3.0, "a": 4.0}
    log.note("a", 6.0)
    second = log.since(first.mark, 7.0)
    assert dict(second.ago) == {"a": 1.0}
    assert dict(log.since(second.mark, 8.0).ago) == {}


def test_a_mark_of_another_life_gets_everything() -> None:
    before, after = SessionLog(), SessionLog()
    before.note("a", 1.0)
    after.note("b", 1.0)
    assert set(after.since(before.since("", 1.0).mark, 2.0).ago) == {"b"}


@pytest.mark.parametrize("mark", ["junk", "x.y.z", ".", "9" * 400])
def test_a_mark_that_makes_no_sense_gets_everything(mark: str) -> None:
    log = SessionLog()
    log.note("a", 1.0)
    assert set(log.since(mark, 1.0).ago) == {"a"}
    assert set(log.since(f"{log.life}.{'9' * 400}", 1.0).ago) == {"a"}


def test_the_log_and_a_page_of_it_are_bounded_and_keep_the_latest() -> None:
    log = SessionLog(capacity=4, page=2)
    for number in range(10):
        log.note(f"s{number}", float(number))
    assert list(log.since("", 10.0).ago) == ["s9", "s8"]
    assert len(log._entries) == 4


def test_a_front_that_has_just_started_finds_a_session_where_another_front_bound_it() -> None:
    old, new, logs = Bindings(), Bindings(), {name: SessionLog() for name in ("d1", "d2", "d3")}
    homes = {}
    for number in range(30):
        session = f"s{number}"
        homes[session] = bound(old, session, now=float(number))
        logs[homes[session]].note(session, float(number))
    for name, log in logs.items():
        new.learn(name, log.since("", 40.0).ago, now=40.0)
    assert {session: bound(new, session, now=41.0) for session in homes} == homes
    assert len(set(homes.values())) == 3


def test_of_two_fronts_that_disagree_the_later_round_wins() -> None:
    bindings = Bindings()
    mine = bound(bindings, "s", now=10.0)
    other = next(name for name in ("d1", "d2", "d3") if name != mine)
    bindings.learn(other, {"s": 15.0}, now=20.0)  # served at 5, before ours
    assert bound(bindings, "s", now=21.0) == mine
    bindings.learn(other, {"s": 1.0}, now=30.0)  # served at 29, after ours
    assert bound(bindings, "s", now=31.0) == other


def test_what_is_learned_counts_as_sessions_of_the_replica_and_grows_old() -> None:
    bindings = Bindings(idle=100.0)
    bindings.learn("d2", {"a": 1.0, "b": 50.0, "c": 150.0}, now=200.0)
    assert bindings.sessions_on("d2") == 2
    bound(bindings, "z", now=500.0)
    assert len(bindings) == 1


def test_two_fronts_that_have_heard_the_same_choose_alike_for_a_session_that_nobody_knows() -> None:
    fronts = Bindings(), Bindings()
    for front in fronts:
        front.learn("d1", {"a": 1.0, "b": 2.0}, now=9.0)
        front.learn("d2", {"c": 3.0}, now=9.0)
        front.learn("d3", {"d": 3.0}, now=9.0)
    chosen = [{bound(front, f"s{number}", now=10.0) for front in fronts} for number in range(60)]
    assert all(len(each) == 1 for each in chosen)
    assert len(set.union(*chosen)) == 3
