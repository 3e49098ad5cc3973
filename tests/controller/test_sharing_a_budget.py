"""Laws of a shared cap: whoever ticks when, the claims stay within it and go to those who come first."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pdscale.controller.shared_budget import Member, allowance, entitled

GPUS = st.integers(0, 20)


@st.composite
def shared(draw: st.DrawFn) -> tuple[int, list[Member]]:
    """A cap and up to five members whose claims are within it."""
    members = [
        Member(name, draw(st.integers(-2, 2)), draw(st.integers(0, 4)), draw(GPUS), draw(GPUS))
        for name in draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True))
    ]
    return sum(m.claim for m in members) + draw(GPUS), members


def test_the_example_of_the_module() -> None:
    a, b = Member("a", 1, least=1, wanted=6, claim=3), Member("b", 0, least=1, wanted=6, claim=5)
    assert entitled(8, [a, b]) == {"a": 6, "b": 2}
    assert (allowance(8, [a, b], "a"), allowance(8, [a, b], "b")) == (3, 2)
    gone = replace(b, claim=4)
    assert allowance(8, [a, gone], "a") == 4


@given(shared())
def test_nobody_is_entitled_to_more_than_there_is_or_than_it_wants(case: tuple[int, list[Member]]) -> None:
    cap, members = case
    found = entitled(cap, members)
    assert sum(found.values()) <= cap
    assert all(0 <= found[m.name] <= max(m.least, m.wanted, m.claim) for m in members)


@given(shared())
def test_who_comes_first_goes_short_only_when_those_behind_have_their_least(
    case: tuple[int, list[Member]],
) -> None:
    cap, members = case
    found = entitled(cap, members)
    for m in members:
        if found[m.name] < max(m.least, m.wanted):
            behind = [o for o in members if (-o.priority, o.name) > (-m.priority, m.name)]
            assert all(found[o.name] <= o.least for o in behind)


@given(shared())
def test_the_order_of_members_is_no_reason(case: tuple[int, list[Member]]) -> None:
    cap, members = case
    assert entitled(cap, members) == entitled(cap, members[::-1])


@given(shared(), st.data())
def test_the_cap_holds_while_members_grow_at_once_and_give_back_late(
    case: tuple[int, list[Member]], data: st.DataObject
) -> None:
    cap, members = case
    for _ in range(12):
        i = data.draw(st.integers(0, len(members) - 1))
        me = replace(members[i], wanted=data.draw(GPUS))
        members[i] = me
        may = allowance(cap, members, me.name)
        now = data.draw(st.integers(min(may, me.claim), max(may, me.claim)))  # as far as it has come
        members[i] = replace(me, claim=now)
        assert sum(m.claim for m in members) <= cap


@given(shared())
def test_everybody_ends_at_what_it_is_entitled_to(case: tuple[int, list[Member]]) -> None:
    cap, members = case
    aim = entitled(cap, members)
    for _ in range(2):
        for i, me in enumerate(members):
            may, asked = allowance(cap, members, me.name), max(me.least, me.wanted)
            members[i] = replace(me, claim=min(may, max(me.claim, asked)))
    assert {m.name: m.claim for m in members} == aim


@given(shared())
def test_nobody_grows_while_together_they_hold_more_than_the_cap(case: tuple[int, list[Member]]) -> None:
    _, members = case
    lowered = sum(m.claim for m in members) - 1
    assert lowered < 0 or all(allowance(lowered, members, m.name) <= m.claim for m in members)
