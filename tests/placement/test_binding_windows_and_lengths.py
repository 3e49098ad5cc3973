"""What the router remembers: who owns a session, what the last seconds were like, how long things are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role
from pdscale.placement.binding import Bindings
from pdscale.placement.lengths import Lengths
from pdscale.placement.policy import Busy, BusyReason
from pdscale.placement.window import SlidingMean


def view(
    *names: str,
    kv: dict[str, float] | None = None,
    running: dict[str, int] | None = None,
    draining: str = "",
    unready: str = "",
) -> ClusterView:
    usage, busy = kv or {}, running or {}
    return ClusterView(
        tuple(
            Endpoint(
                n,
                "10.0.0.1",
                Role.DECODE,
                ready=n != unready,
                draining=n == draining,
                load=Load(kv_usage=usage.get(n, 0.0), running=busy.get(n, 0)),
            )
            for n in names
        )
    )


def bound(bindings: Bindings, session: str, seen: ClusterView, now: float = 0.0) -> str:
    endpoint = bindings.bind(session, seen, now=now)
    assert isinstance(endpoint, Endpoint)
    return endpoint.name


def test_the_least_kv_then_the_fewest_sessions_then_anyone() -> None:
    bindings = Bindings()
    assert bound(bindings, "1", view("a", "b", kv={"a": 0.5, "b": 0.2})) == "b"
    assert bound(bindings, "2", view("a", "b")) == "a"
    assert {bound(bindings, name, view("a", "b")) for name in "34"} == {"a", "b"}
    # 0.21 and 0.24 are the same step of five percent: the count decides.
    assert bound(bindings, "5", view("a", "b", "c", kv={"a": 0.21, "b": 0.21, "c": 0.24})) == "c"


def test_a_new_replica_shares_the_work_instead_of_getting_all_of_it() -> None:
    # "old" is full of what ended rounds left behind, "new" has just started: their work is what counts.
    seen = view("new", "old", kv={"new": 0.0, "old": 0.7}, running={"old": 2})
    bindings = Bindings()
    for number in range(6):
        bindings.began(bound(bindings, str(number), seen))
    assert (bindings.sessions_on("new"), bindings.sessions_on("old")) == (3, 3)
    for _ in range(3):
        bindings.ended("new")
    assert bound(bindings, "next", seen) == "new"


def test_a_replica_without_room_for_kv_comes_last_whatever_its_work() -> None:
    assert bound(Bindings(), "s", view("a", "b", kv={"a": 0.95, "b": 0.5}, running={"b": 30})) == "b"


def test_a_session_stays_however_full_its_replica_gets() -> None:
    bindings = Bindings()
    home = bound(bindings, "s", view("a", "b"))
    assert bound(bindings, "s", view("a", "b", kv={home: 0.99})) == home


@pytest.mark.parametrize("seen", [view("b"), view("a", "b", draining="a")], ids=["gone", "draining"])
def test_a_session_moves_when_its_replica_takes_no_work_and_stays_there(seen: ClusterView) -> None:
    bindings = Bindings()
    bound(bindings, "s", view("a", "b"))
    assert bound(bindings, "s", seen) == "b"
    assert bound(bindings, "s", view("a", "b")) == "b"
    assert (bindings.sessions_on("a"), bindings.sessions_on("b")) == (0, 1)


def test_nobody_left_is_busy() -> None:
    busy = Bindings().bind("s", view("a", unready="a"), now=0)
    assert busy == Busy(BusyReason.NO_DECODE_REPLICA, 503)
    tried = Bindings().bind("s", view("a", draining="a"), now=0, without={"a"})
    assert tried == Busy(BusyReason.NO_DECODE_REPLICA, 503)


def test_one_that_drains_is_better_than_nobody_and_is_left_for_anybody_else() -> None:
    bindings = Bindings()
    assert bound(bindings, "s", view("a", "b", draining="a", unready="b")) == "a"
    assert bound(bindings, "s", view("a", "b", draining="a")) == "b"


def test_old_and_surplus_sessions_are_forgotten() -> None:
    bindings = Bindings(capacity=2, idle=10)
    for now, session in enumerate("abc"):
        bound(bindings, session, view("x"), float(now))
    assert len(bindings) == 2
    bound(bindings, "d", view("x"), 11.5)
    assert len(bindings) == 2  # b was idle for 10.5 s, c for 9.5 s
    assert bindings.sessions_on("x") == 2


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), max_size=60))
def test_counts_agree_with_the_table(steps: list[tuple[str, int]]) -> None:
    bindings = Bindings(capacity=4, idle=20)
    for now, (session, gone) in enumerate(steps):
        bindings.bind(session, view(*(n for i, n in enumerate("wxyz") if i != gone)), now=now)
        assert sum(bindings.sessions_on(n) for n in "wxyz") == len(bindings) <= 4


def test_an_empty_window_has_no_mean() -> None:
    window = SlidingMean(seconds=10)
    assert window.mean(now=0) is None
    window.add(2.0, now=1)
    window.add(4.0, now=2, weight=3)
    assert window.mean(now=2) == 3.5
    assert window.mean(now=11.9) == 4.0
    assert window.mean(now=12.1) is None


def test_a_mean_that_was_asked_for_takes_in_what_comes_later_in_its_slot() -> None:
    window = SlidingMean(seconds=10)
    window.add(2.0, now=1)
    assert window.mean(now=1.2) == 2.0
    window.add(4.0, now=1.4)
    assert window.mean(now=1.4) == 3.0


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), min_size=1, max_size=50))
def test_a_mean_lies_between_the_least_and_the_most(samples: list[tuple[float, float]]) -> None:
    window, now = SlidingMean(seconds=10), 0.0
    for value, gap in samples:
        now += gap
        window.add(value, now=now)
    mean = window.mean(now)
    assert mean is not None
    assert min(v for v, _ in samples) - 1e-9 <= mean <= max(v for v, _ in samples) + 1e-9


def test_lengths_learn_from_what_the_engine_counted() -> None:
    lengths = Lengths(tokens_per_byte=0.25)
    first = lengths.estimate("s", 4000, now=0)
    assert (first.history, first.increment) == (0, 1000)
    lengths.learn("s", 4000, prompt=1000, completion=200, now=0)
    # 2000 bytes more are 500 tokens, of which the last answer was 200.
    second = lengths.estimate("s", 6000, now=1)
    assert (second.history, second.increment) == (1200, 300)


def test_a_shrunk_or_idle_conversation_is_a_new_one() -> None:
    lengths = Lengths(idle=100)
    lengths.learn("s", 4000, prompt=1000, completion=200, now=0)
    assert lengths.estimate("s", 3000, now=1).history == 0
    assert lengths.estimate("s", 6000, now=101).history == 0


def test_lengths_are_bounded() -> None:
    lengths = Lengths(capacity=3)
    for i in range(10):
        lengths.learn(str(i), 100, prompt=25, completion=1, now=i)
    assert len(lengths) == 3
