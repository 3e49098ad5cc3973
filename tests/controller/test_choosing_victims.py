"""Which replicas a smaller pool does without, and when: values in, values out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdscale.controller.replica_figures import ReplicaFigures, query, read
from pdscale.controller.victims import Figures, shrinking, victims
from pdscale.kube.marks import GOING, GOING_FIRST, Mark, Replica

NOW = 1000.0


def ready(name: str, *, age: int = 5, mark: Mark | None = None) -> Replica:
    return Replica(name, True, f"2026-01-01T00:00:{59 - age:02}Z", mark or Mark())


def starting(name: str) -> Replica:
    return Replica(name, False, "2026-01-01T00:00:00Z", Mark())


def sessions(**counts: float) -> dict[str, ReplicaFigures]:
    return {name: ReplicaFigures(0.0, count) for name, count in counts.items()}


@pytest.mark.parametrize(
    ("replicas", "figures", "first"),
    [
        pytest.param([ready("a"), ready("b")], sessions(a=9, b=2), "b", id="fewest sessions"),
        pytest.param(
            [ready("a"), ready("b")],
            {"a": ReplicaFigures(0, 3, 0.2), "b": ReplicaFigures(0, 3, 0.6)},
            "a",
            id="least KV of those with as many sessions",
        ),
        pytest.param(
            [ready("a"), ready("b")],
            {"a": ReplicaFigures(7, 3, 0.2), "b": ReplicaFigures(1, 3, 0.2)},
            "b",
            id="fewest open requests of those with as much KV",
        ),
        pytest.param(
            [ready("a"), ready("b")],
            {"a": ReplicaFigures(1, 3, 0.9), "b": ReplicaFigures(4, 3, None)},
            "a",
            id="a figure that one lacks is nobody's reason",
        ),
        pytest.param(
            [ready("a", age=1), ready("b", age=9)], sessions(b=0), "a", id="sessions unknown of one: youngest"
        ),
        pytest.param([ready("a"), starting("b")], sessions(a=0), "b", id="not ready before idle"),
        pytest.param(
            [ready("a"), ready("b", mark=Mark(since=NOW))], sessions(a=0, b=9), "b", id="who drains goes on"
        ),
        pytest.param(
            [ready("a"), ready("b", mark=Mark(foreign=True))], sessions(a=0, b=9), "b", id="a person's mark"
        ),
        pytest.param([ready("b"), ready("a")], sessions(a=1, b=1), "a", id="equal ones by name"),
    ],
)
def test_who_has_the_least_to_lose_goes_first(replicas: list[Replica], figures: Figures, first: str) -> None:
    assert victims(replicas, figures, 1)[0].name == first


POOL = st.lists(
    st.builds(
        Replica,
        st.uuids().map(str),
        st.booleans(),
        st.just("2026-01-01T00:00:00Z"),
        st.builds(Mark, st.sampled_from([None, NOW - 60, NOW - 5, NOW])),
    ),
    max_size=8,
    unique_by=lambda r: r.name,
)


@given(POOL, st.data(), st.integers(0, 9), st.integers(0, 9))
def test_a_scale_stays_between_where_it_is_and_where_it_goes(
    pool: list[Replica], drawn: st.DataObject, desired: int, target: int
) -> None:
    known = drawn.draw(st.sets(st.sampled_from(pool))) if pool else set()
    figures = {r.name: ReplicaFigures(drawn.draw(st.integers(0, 1)), 1) for r in known}
    step = shrinking(pool, figures, desired=desired, target=target, now=NOW, deadline=30)
    assert min(desired, target) <= step.allowed <= max(desired, target)
    assert not set(step.mark) & set(step.unmark)
    assert len(step.drains) <= max(0, len(pool) - target)


@given(POOL, st.permutations(range(8)))
def test_the_order_of_the_pods_is_no_reason(pool: list[Replica], order: list[int]) -> None:
    figures = {r.name: ReplicaFigures(0, len(r.name) % 3) for r in pool}
    mixed = [pool[i] for i in order if i < len(pool)]
    assert victims(mixed, figures, 3) == victims(pool, figures, 3)


def test_a_replica_is_marked_first_and_counted_until_it_is_idle() -> None:
    figures = {"a": ReplicaFigures(0, 5), "b": ReplicaFigures(1, 2)}
    first = shrinking([ready("a"), ready("b")], figures, desired=2, target=1, now=NOW, deadline=30)
    assert (first.allowed, first.mark, first.costs, first.drains) == (2, ("b",), (("b", GOING),), ("b",))

    marked = ready("b", mark=Mark(NOW, cost=GOING))
    busy = shrinking([ready("a"), marked], figures, desired=2, target=1, now=NOW + 29, deadline=30)
    assert (busy.allowed, busy.mark, busy.costs) == (2, (), ())
    late = shrinking([ready("a"), marked], figures, desired=2, target=1, now=NOW + 30, deadline=30)
    assert (late.allowed, late.costs) == (1, (("b", GOING_FIRST),))
    idle = shrinking(
        [ready("a"), marked],
        figures | {"b": ReplicaFigures(0, 2)},
        desired=2,
        target=1,
        now=NOW + 1,
        deadline=30,
    )
    assert idle.allowed == 1


def test_of_several_that_drain_only_the_idle_ones_go_yet() -> None:
    old = Mark(NOW - 5, cost=GOING)
    pool = [ready("a"), ready("b", mark=old), ready("c", mark=old)]
    figures = {"a": ReplicaFigures(3, 3), "b": ReplicaFigures(1, 1), "c": ReplicaFigures(0, 1)}
    step = shrinking(pool, figures, desired=3, target=1, now=NOW, deadline=30)
    assert (step.allowed, step.costs, step.drains) == (2, (("c", GOING_FIRST),), ("c", "b"))


def test_a_pod_that_has_our_cost_already_is_marked_all_the_same() -> None:
    cheap = ready("b", mark=Mark(cost=GOING))
    step = shrinking([ready("a"), cheap], sessions(a=1, b=0), desired=2, target=1, now=NOW, deadline=30)
    assert (step.mark, step.costs) == (("b",), (("b", GOING),))


def test_a_drain_is_undone_as_long_as_nobody_was_deleted() -> None:
    marked = ready("b", mark=Mark(NOW - 5, cost=GOING))
    step = shrinking([ready("a"), marked], sessions(a=1, b=1), desired=2, target=3, now=NOW, deadline=30)
    assert (step.allowed, step.unmark, step.drains) == (3, ("b",), ())


def test_marks_stay_while_a_controller_has_not_yet_done_what_the_scale_says() -> None:
    marked = ready("b", mark=Mark(NOW - 5, cost=GOING_FIRST))
    step = shrinking([ready("a"), marked], sessions(a=1, b=0), desired=1, target=1, now=NOW, deadline=30)
    assert (step.allowed, step.unmark, step.costs) == (1, (), ())


def test_without_any_figure_kubernetes_chooses_and_the_pods_drain_by_themselves() -> None:
    step = shrinking([ready("a"), ready("b")], {}, desired=2, target=1, now=NOW, deadline=30)
    assert (step.allowed, step.mark, step.costs) == (1, (), ())


def test_a_drain_whose_figures_have_gone_ends_at_the_deadline_and_not_before() -> None:
    pool = [ready("a"), ready("b", mark=Mark(NOW - 5, cost=GOING))]
    assert shrinking(pool, {}, desired=2, target=1, now=NOW, deadline=30).allowed == 2
    assert shrinking(pool, {}, desired=2, target=1, now=NOW + 25, deadline=30).allowed == 1


def test_somebody_elses_mark_is_never_taken_off() -> None:
    theirs = ready("b", mark=Mark(foreign=True))
    assert shrinking([ready("a"), theirs], {}, desired=2, target=2, now=NOW, deadline=30).unmark == ()


def test_somebody_elses_mark_is_noted_and_then_has_the_same_deadline() -> None:
    busy = {"a": ReplicaFigures(1, 1), "b": ReplicaFigures(1, 9)}
    theirs = ready("b", mark=Mark(foreign=True))
    first = shrinking([ready("a"), theirs], busy, desired=2, target=1, now=NOW, deadline=30)
    assert (first.allowed, first.mark, first.costs, first.drains) == (2, ("b",), (("b", GOING),), ("b",))
    noted = ready("b", mark=Mark(NOW, foreign=True, cost=GOING))
    for figures in (busy, {"a": ReplicaFigures(1, 1)}):  # told or not: no pool waits for one pod for ever
        soon = shrinking([ready("a"), noted], figures, desired=2, target=1, now=NOW + 29, deadline=30)
        assert (soon.allowed, soon.mark, soon.costs) == (2, (), ())
        late = shrinking([ready("a"), noted], figures, desired=2, target=1, now=NOW + 30, deadline=30)
        assert (late.allowed, late.costs) == (1, (("b", GOING_FIRST),))


def test_somebody_elses_mark_on_an_idle_pod_waits_for_nothing() -> None:
    theirs = ready("b", mark=Mark(foreign=True))
    step = shrinking([ready("a"), theirs], sessions(a=1, b=9), desired=2, target=1, now=NOW, deadline=30)
    assert step.allowed == 1


def test_figures_of_both_pools_are_asked_for_by_their_deployments_and_read_by_pod() -> None:
    text = query("ns", "a.b")
    assert text.count('{namespace="ns",pod=~"(a\\\\.b-prefill|a\\\\.b-decode)-[a-z0-9]+-[a-z0-9]+"}') == 3
    told = read({"open/a": 2.0, "sessions/a": 3.0, "kv/a": 0.5, "sessions/b": 0.0, "open/c": 1.0})
    assert told == {"a": ReplicaFigures(2.0, 3.0, 0.5), "b": ReplicaFigures(0.0, 0.0, None)}


def test_who_has_drained_by_our_mark_may_change_its_role_and_nobody_else_who_goes() -> None:
    pool = [
        ready("a", mark=Mark(since=NOW - 5)),
        ready("b", mark=Mark(since=NOW - 5)),
        ready("c", mark=Mark(since=NOW - 5, foreign=True)),
        starting("d"),
        ready("e"),
    ]
    figures = {name: ReplicaFigures(0 if name in "ac" else 1, 2) for name in "abce"}
    step = shrinking(pool, figures, desired=5, target=1, now=NOW, deadline=30, flips=True)
    assert (step.drained, step.unfit) == (("a",), 2)


def test_a_replica_that_is_to_change_its_role_drains_though_nobody_tells_anything() -> None:
    pool = [ready("a"), ready("b")]
    assert shrinking(pool, {}, desired=2, target=1, now=NOW, deadline=30).allowed == 1
    step = shrinking(pool, {}, desired=2, target=1, now=NOW, deadline=30, flips=True)
    assert (step.allowed, len(step.mark), step.drained) == (2, 1, ())
