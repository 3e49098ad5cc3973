"""Which part of a plan running pods may carry out by changing their role: values in, values out."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.kube_fields import Object
from fakes.serving import serving
from pdscale.api import translate
from pdscale.controller.drafts import Draft
from pdscale.controller.rollout import SETTLED, Rollout
from pdscale.controller.trades import Trade, held, hold, obstacle, settled, trade
from pdscale.kube.flips import NOTE
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults
from pdscale.model.pools import Role, Targets
from pdscale.perf.builtin import BUILTIN
from pdscale.scaling.policy import Policy

PROFILE = BUILTIN["llama-3.1-8b-h100"]
ENABLED = {"interval": "15s", "roleFlip": "Enabled"}
PAIRS = st.builds(Targets, st.integers(0, 8), st.integers(0, 8))


@pytest.mark.parametrize(
    ("current", "aim", "found"),
    [
        pytest.param(Targets(4, 4), Targets(3, 5), Trade(Role.DECODE, 1), id="one prefill becomes decode"),
        pytest.param(Targets(2, 6), Targets(4, 4), Trade(Role.PREFILL, 2), id="two decode become prefill"),
        pytest.param(Targets(4, 4), Targets(1, 5), Trade(Role.DECODE, 1), id="no more than are wanted"),
        pytest.param(Targets(4, 4), Targets(3, 6), Trade(Role.DECODE, 1), id="no more than are given"),
        pytest.param(Targets(4, 4), Targets(4, 5), None, id="growth alone"),
        pytest.param(Targets(4, 4), Targets(3, 4), None, id="shrinking alone"),
        pytest.param(Targets(4, 4), Targets(5, 5), None, id="both grow"),
    ],
)
def test_what_one_pool_gains_at_the_others_cost_is_a_trade(
    current: Targets, aim: Targets, found: Trade | None
) -> None:
    assert trade(current, aim) == found


@given(PAIRS, PAIRS, st.integers(0, 8), st.integers(0, 8))
def test_scales_beside_a_trade_never_hold_more_than_before_or_after_it(
    current: Targets, aim: Targets, drained: int, unfit: int
) -> None:
    traded = trade(current, aim)
    if traded is None:
        return
    source = traded.source
    allowed = max(aim.of(source), current.of(source) - drained)
    pair = {traded.to: aim.of(traded.to), source: allowed}
    beside = traded.beside(aim, Targets(pair[Role.PREFILL], pair[Role.DECODE]), unfit=unfit)
    most = max(current.prefill + current.decode, aim.prefill + aim.decode)
    assert beside.prefill + beside.decode <= most
    assert aim.of(source) <= beside.of(source) <= current.of(source)
    assert beside.of(traded.to) >= current.of(traded.to)


def test_a_trade_that_waits_leaves_both_scales_as_they_are() -> None:
    assert Trade(Role.DECODE, 1).undone(Targets(3, 5)) == Targets(4, 4)
    assert Trade(Role.DECODE, 1).undone(Targets(2, 5)) == Targets(3, 4), "what is not traded goes on"


@pytest.mark.parametrize(
    ("owner", "scales"),
    [
        pytest.param(Role.DECODE, Targets(4, 5), id="who gains"),
        pytest.param(Role.PREFILL, Targets(3, 4), id="who gives"),
    ],
)
def test_who_owns_a_scale_is_asked_again_and_the_other_pool_waits(owner: Role, scales: Targets) -> None:
    assert Trade(Role.DECODE, 1).undone(Targets(3, 5), owned_elsewhere={owner}) == scales


def test_a_victim_that_cannot_change_its_role_is_deleted_and_nobody_starts_in_its_place_yet() -> None:
    found = Trade(Role.DECODE, 2).beside(Targets(2, 6), Targets(3, 6), unfit=1)
    assert found == Targets(3, 4), "of 4P+4D the one that is not ready goes, the other one will flip"


def judged(rollout: Rollout = SETTLED, **spec: Any) -> str | None:
    """The reason why nobody may flip."""
    wanted = translate.read(serving(**{"scaling": ENABLED, **spec}))
    manifests = render(wanted, profile=PROFILE, defaults=Defaults("router:test"))
    found = obstacle(wanted, translate.policy(wanted.spec, PROFILE), map(Draft.of, manifests), rollout)
    return None if found is None else found.reason


TWO_GPUS = {"maxReplicas": 2, "gpusPerReplica": 2}
LABELLED = {"podTemplate": {"metadata": {"labels": {"team": "a"}}}}
SGLANG = {"type": "SGLang", "image": "s:1"}
REMOTE = {"placement": "AlwaysRemote"}
SPICED = {"podTemplate": {"spec": {"priorityClassName": "high"}}}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"prefill": LABELLED}, None, id="labels may differ: they are what changes"),
        pytest.param({"prefill": SPICED}, "TemplatesDiffer", id="another pod"),
        pytest.param({"decode": TWO_GPUS}, "GpusDiffer", id="other GPUs"),
        pytest.param({"decode": {"startupTime": "1s"}}, "StartUpQuicker", id="a start that is as quick"),
        pytest.param(
            {
                "engine": SGLANG,
                "router": REMOTE,
                "decode": {"startupTime": "20s"},
                "prefill": {"startupTime": "20s"},
            },
            None,
            id="an engine that must be told",
        ),
        pytest.param({"engine": SGLANG, "router": REMOTE}, "StartUpQuicker", id="which takes longer"),
        pytest.param({"scaling": {"interval": "15s"}}, "FlipsUnsupported", id="not asked for"),
    ],
)
def test_what_keeps_replicas_from_changing_their_role_is_said(spec: Object, reason: str | None) -> None:
    assert judged(**spec) == reason


def test_nobody_changes_its_role_while_a_template_rolls_out() -> None:
    assert judged(Rollout(Role.PREFILL)) == "RollingOut"


def deployments(*, prefill: str = "", decode: str = "", replicas: int = 2) -> dict[str, Object]:
    notes = {"chat-prefill": prefill, "chat-decode": decode}
    return {
        name: {"metadata": {"annotations": {NOTE: text} if text else {}}, "spec": {"replicas": replicas}}
        for name, text in notes.items()
    }


def told(to: str, *, ended: str = "2026-01-01T00:00:30Z") -> str:
    said = f'"pod":"a","uid":"u","to":"{to}","giving":1,"receiving":3,"began":"2026-01-01T00:00:29Z"'
    return "{" + said + (f',"ended":"{ended}"' if ended else "") + "}"


ENDED = 1767225630.0


def policy() -> Policy:
    found = translate.policy(translate.read(serving(scaling=ENABLED)).spec, PROFILE)
    return replace(found, start_up_prefill=60.0, start_up_decode=40.0, scale_down_window=None)


@pytest.mark.parametrize(
    ("to", "after", "waits"),
    [
        pytest.param(Role.PREFILL, 59, True, id="back"),
        pytest.param(Role.PREFILL, 60, False, id="back after the hold"),
        pytest.param(Role.DECODE, 1, False, id="on"),
    ],
)
def test_replicas_do_not_go_back_within_the_hold(to: Role, after: float, waits: bool) -> None:
    found = held(deployments(decode=told("decode")), "chat", to, policy(), ENDED + after)
    assert found is waits


def test_the_hold_is_the_slower_start_up_or_the_window_that_was_set() -> None:
    assert hold(policy()) == 60
    assert hold(replace(policy(), scale_down_window=5.0)) == 5


@pytest.mark.parametrize("text", ["", "no", "{}", '{"pod": 1}', told("both"), "[]"])
def test_a_note_that_nobody_understands_holds_nobody(text: str) -> None:
    assert not held(deployments(decode=text), "chat", Role.PREFILL, policy(), ENDED)


@pytest.mark.parametrize(("pods", "quiet"), [((2, 2), True), ((3, 2), False), ((2, 1), False)])
def test_pools_stand_still_when_there_are_as_many_pods_as_wanted(pods: tuple[int, int], quiet: bool) -> None:
    there = {role: [object()] * count for role, count in zip(Role, pods, strict=True)}
    assert settled(deployments(), "chat", there) is quiet
