"""That keeping columns from view to view decides as one pass over each view does."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pdscale.model.cluster import ClusterView, Endpoint, Load
from pdscale.model.pools import Role
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.placement.ampd import AMPD
from pdscale.placement.policy import Kind, Placement, PlacementReason, Round
from pdscale.placement.prefills import Prefills, any_of
from pdscale.placement.soonest import Soonest

PER_TOKEN = 1 / 64
SLOS = SLO(ttft=2.0, tpot=0.05)
PROFILE = BUILTIN["llama-3.1-8b-h100"]

# Sixty-fourths add up without rounding, and few of them make for many ties.
parts = st.integers(0, 6).map(lambda n: n / 64)
loads = st.builds(
    Load,
    queued_tokens=st.integers(0, 6).map(float),
    resident_tokens=st.just(1000.0),
    ttft=st.none() | st.sampled_from((1.0, 3.0)),
    itl=st.sampled_from((0.01, 0.049)),
    seen_at=parts,
    backlog=parts,
)
silent = loads.map(lambda load: replace(load, backlog=None))
names = st.sampled_from(tuple("abcdefgh"))


@st.composite
def fleets(draw: st.DrawFn) -> tuple[ClusterView, ...]:
    """Views one after another: mostly new loads, sometimes another role, readiness or size."""
    kinds = loads if draw(st.booleans()) else loads | silent
    some = draw(st.lists(st.builds(endpoint, names, kinds, st.booleans()), max_size=8))
    view = ClusterView(tuple({e.name: e for e in some}.values()))
    views = [view]
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            view = view.renewed(draw(st.dictionaries(names, kinds, max_size=3)))
        else:
            new = draw(st.builds(endpoint, names, kinds, st.booleans()))
            view = ClusterView((*(e for e in view.endpoints if e.name != new.name), new))
        views.append(view)
    return tuple(views)


def endpoint(name: str, load: Load, ready: bool) -> Endpoint:
    return Endpoint(name, "10.0.0.1", Role.PREFILL if name < "g" else Role.DECODE, ready=ready, load=load)


def plainly(view: ClusterView, without: str) -> list[Endpoint]:
    return [e for e in view.endpoints if e.role is Role.PREFILL and e.takes_new_work and e.name != without]


def waits(found: Sequence[Endpoint], sent: Sequence[tuple[str, float, float]], now: float) -> list[float]:
    """The rule as it is defined, one replica after the other."""
    told = all(e.load.backlog is not None for e in found)
    each = []
    for e in found:
        if told and e.load.backlog is not None:
            wait = max(0.0, e.load.backlog - now + e.load.seen_at)
        else:
            wait = e.load.queued_tokens * PER_TOKEN
        each.append(wait + sum(work for name, at, work in sent if name == e.name and at >= e.load.seen_at))
    return each


def chosen(figures: Sequence[float], rng: random.Random) -> int:
    """Of those that are least, each as likely as the other: the first stays with 1/n, and so on."""
    least = [row for row, figure in enumerate(figures) if figure == min(figures)]
    return any_of(least, rng)


@given(fleets(), st.lists(st.tuples(names, parts, st.sampled_from((1 / 64, 3 / 64)))), names)
def test_the_soonest_is_whom_one_pass_over_the_view_finds(
    views: tuple[ClusterView, ...], sent: list[tuple[str, float, float]], without: str
) -> None:
    rule, sent = Soonest(PER_TOKEN), sorted(sent, key=lambda each: each[1])
    for name, at, work in sent:
        rule.note(Endpoint(name, "10.0.0.1", Role.PREFILL), work, now=at)
    newest: dict[str, float] = {}
    for number, view in enumerate(views):
        now = (6 + number) / 64
        found = plainly(view, without)
        # What a replica has once reported stays reported, whatever an older word of it says later.
        for e in found:
            newest[e.name] = max(newest.get(e.name, -math.inf), e.load.seen_at)
        left = [(name, at, work) for name, at, work in sent if at >= newest.get(name, -math.inf)]
        best, wait = rule.find(view, without=without, now=now, rng=random.Random(number))
        if not found:
            assert (best, wait) == (None, math.inf)
            continue
        expected = waits(found, left, now)
        row = chosen(expected, random.Random(number))
        assert best is found[row]
        assert wait == expected[row]


@given(fleets(), names)
def test_rows_are_the_replicas_that_take_prefills_in_order_of_names(
    views: tuple[ClusterView, ...], without: str
) -> None:
    kept = Prefills(lambda load: (load.queued_tokens, load.seen_at), width=2)
    for view in views:
        found = plainly(view, without)
        seen = kept.of(view, without=without)
        assert seen.endpoints == found
        assert seen.rows == {e.name: row for row, e in enumerate(found)}
        assert seen.columns == ([e.load.queued_tokens for e in found], [e.load.seen_at for e in found])


@given(fleets(), st.floats(0, 20_000), st.floats(1, 5_000), st.sampled_from((0.01, 0.049)))
def test_ampd_decides_as_it_does_by_one_pass_over_the_view(
    views: tuple[ClusterView, ...], history: float, increment: float, itl: float
) -> None:
    rule, decode = AMPD(PROFILE, SLOS), Endpoint("z", "10.0.0.9", Role.DECODE, load=Load(itl=itl))
    request = Round("s", history, increment)
    for number, view in enumerate(views):
        placed = rule.place(request, view, decode, now=1.0, rng=random.Random(number))
        assert placed == ampd(rule, request, plainly(view, "z"), decode, random.Random(number))


def ampd(
    rule: AMPD, request: Round, found: list[Endpoint], decode: Endpoint, rng: random.Random
) -> Placement:
    if not found:
        return Placement(Kind.LOCAL, decode, PlacementReason.NO_PREFILL_REPLICA)
    if any(e.load.ttft is None or e.load.ttft <= 0.9 * SLOS.ttft for e in found):
        left = list(found)
        while True:
            at = int(rng.random() * len(left))
            left[at], left[-1] = left[-1], left[at]
            if (e := left.pop()).load.ttft is None or e.load.ttft <= 0.9 * SLOS.ttft:
                return Placement(Kind.REMOTE, e, PlacementReason.PREFILL_SLACK)
    if decode.load.itl is not None and decode.load.itl <= 0.85 * SLOS.tpot:
        return Placement(Kind.LOCAL, decode, PlacementReason.DECODE_SLACK)
    best = found[chosen([e.load.queued_tokens for e in found], rng)]
    if rule.remote_seconds(request, best) < rule.local_seconds(request, decode):
        return Placement(Kind.REMOTE, best, PlacementReason.CHEAPER_REMOTE)
    return Placement(Kind.LOCAL, decode, PlacementReason.CHEAPER_LOCAL)
