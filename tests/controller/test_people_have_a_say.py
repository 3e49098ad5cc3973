"""Approval, pauses by annotation, and the way back after somebody else has set the replicas."""

from typing import Any

import pytest

from fakes.kube import PLURAL
from fakes.operator import Bench
from pdscale.controller.approval import Moment, Proposal, proposal
from pdscale.controller.say import PAUSED, PAUSED_IN, PAUSED_OUT, PAUSED_REPLICAS, Say
from pdscale.model.pools import Targets

KEY = (PLURAL, "default", "chat")


def annotate(it: Bench, **said: str) -> None:
    patch = {"metadata": {"annotations": {_NAMES[k]: v for k, v in said.items()}}}
    it.fake.store.patch(KEY, patch, subresource="", manager="user", is_json=False)


_NAMES = {
    "approve": "pdscale.io/approve",
    "take": "pdscale.io/take-replicas",
    "paused": PAUSED,
    "scale_in": PAUSED_IN,
    "scale_out": PAUSED_OUT,
    "replicas": PAUSED_REPLICAS,
}


async def run(it: Bench, *, rate: float | None = None, ticks: int = 4) -> None:
    if rate is not None:
        it.source.rate = rate
    for _ in range(ticks):
        await it.tick(after=15)
        it.fake.run_pods()


async def test_a_plan_waits_for_its_approval_and_is_then_carried_out(it: Bench) -> None:
    it.create(scaling={"mode": "Approve"})
    await run(it, rate=30.0)
    assert it.replicas() == (1, 1)
    waits = it.status()["proposal"]
    assert (waits["approved"], waits["decode"] > 1) == (False, True)
    status, reason, message = it.condition("ScalingActive")
    assert (status, reason) == ("False", "AwaitingApproval")
    assert f"proposal {waits['id']} waits: " in message
    (event,) = (e for e in it.fake.events() if e["reason"] == "PlanProposed")
    assert event["note"].startswith(f"{waits['id']}: 1P+1D to ")
    annotate(it, approve=waits["id"])
    await run(it)
    assert it.replicas() == (waits["prefill"], waits["decode"])
    assert "proposal" not in it.status()
    assert it.condition("ScalingActive")[:2] == ("True", "NothingToApprove")


async def test_an_old_approval_does_not_approve_the_next_plan(it: Bench) -> None:
    it.create(scaling={"mode": "Approve"})
    await run(it, rate=30.0)
    annotate(it, approve=it.status()["proposal"]["id"])
    await run(it)
    before = it.replicas()
    await run(it, rate=0.5)
    assert it.replicas() == before
    assert it.status()["proposal"]["approved"] is False


async def test_a_proposal_stands_while_it_waits_though_the_load_moves_on(it: Bench) -> None:
    it.create(scaling={"mode": "Approve"}, gpuBudget=16)
    await run(it, rate=20.0)
    first = it.status()["proposal"]
    await run(it, rate=60.0)
    assert it.status()["proposal"] == first
    await it.tick(after=900)
    second = it.status()["proposal"]
    assert second["id"] != first["id"]
    assert second["decode"] > first["decode"]
    annotate(it, approve=first["id"])
    await run(it, ticks=1)
    assert it.replicas() == (1, 1), "an answer that came too late approves nothing"


async def test_an_approved_plan_survives_a_restart_and_obeys_the_budget(it: Bench) -> None:
    it.create(scaling={"mode": "Approve"}, gpuBudget=6)
    await run(it, rate=500.0)
    annotate(it, approve=it.status()["proposal"]["id"])
    await it.tick(after=15)
    assert sum(it.replicas()) <= 6
    it.restart()
    it.fake.run_pods()
    await run(it)
    assert sum(it.replicas()) == 6


async def test_what_was_approved_is_not_carried_out_without_metrics(it: Bench) -> None:
    it.create(scaling={"mode": "Approve"})
    await run(it, rate=30.0)
    annotate(it, approve=it.status()["proposal"]["id"])
    it.source.down = "http://prometheus:9090: no answer"
    await run(it)
    assert it.replicas() == (1, 1)
    assert "proposal" not in it.status()


_MOMENT = Moment(current=Targets(1, 1), wanted=Targets(3, 4), generation=2, now=1_700_000_000.0)


def _waiting(**changes: Any) -> Proposal:
    given: dict[str, Any] = {
        "id": "2p2d-x",
        "targets": Targets(2, 2),
        "expires": _MOMENT.now + 1,
        "generation": 2,
    }
    return Proposal(**given | changes)


@pytest.mark.parametrize(
    ("before", "answer", "stands", "approved"),
    [
        pytest.param(None, "", False, False, id="the_first"),
        pytest.param(_waiting(), "", True, False, id="waits"),
        pytest.param(_waiting(), "2p2d-x", True, True, id="approved_now"),
        pytest.param(_waiting(), "2p2d-w", True, False, id="another_was_approved"),
        pytest.param(_waiting(expires=_MOMENT.now), "2p2d-x", False, False, id="too_late"),
        pytest.param(_waiting(expires=0.0, approved=True), "", True, True, id="approved_before"),
        pytest.param(_waiting(generation=1, approved=True), "", False, False, id="spec_edited"),
        pytest.param(_waiting(targets=Targets(1, 1), approved=True), "", False, False, id="reached"),
    ],
)
def test_when_a_proposal_stands(before: Proposal | None, answer: str, stands: bool, approved: bool) -> None:
    found = proposal(before, _MOMENT, approved=answer, lifetime=60.0)
    assert found is not None
    assert (found.id == "2p2d-x", found.approved) == (stands, approved)
    if not stands:
        assert (found.id, found.expires) == ("3p4d-20231114221320", _MOMENT.now + 60)


def test_a_proposal_is_read_back_as_it_was_stored() -> None:
    made = _waiting(approved=True)
    assert Proposal.stored({"proposal": made.status.dump()}) == made
    assert Proposal.stored({}) is None


@pytest.mark.parametrize(
    ("said", "wanted", "permitted"),
    [
        pytest.param({}, Targets(1, 5), Targets(1, 5), id="nothing"),
        pytest.param({PAUSED: "true"}, Targets(1, 5), None, id="paused"),
        pytest.param({PAUSED: ""}, Targets(1, 5), None, id="paused_with_no_value"),
        pytest.param({PAUSED: "false"}, Targets(1, 5), Targets(1, 5), id="paused_false"),
        pytest.param({PAUSED_REPLICAS: "0"}, Targets(1, 5), None, id="one_count_for_two_pools"),
        pytest.param({PAUSED_IN: "true"}, Targets(1, 5), Targets(3, 5), id="no_scale_in"),
        pytest.param({PAUSED_OUT: "true"}, Targets(1, 5), Targets(1, 3), id="no_scale_out"),
        pytest.param({PAUSED_IN: "1", PAUSED_OUT: "1"}, Targets(1, 5), Targets(3, 3), id="neither"),
        pytest.param({}, None, None, id="nothing_wanted"),
    ],
)
def test_kedas_annotations_mean_what_they_mean_there(
    said: dict[str, str], wanted: Targets | None, permitted: Targets | None
) -> None:
    found = Say.of({"metadata": {"annotations": said}})
    assert found.permits(wanted, Targets(3, 3)) == permitted


async def test_a_pause_by_annotation_is_obeyed_shown_and_ended(it: Bench) -> None:
    it.create()
    await it.tick()
    annotate(it, paused="true")
    await run(it, rate=30.0)
    assert it.replicas() == (1, 1)
    assert it.condition("ScalingActive")[:2] == ("False", "PausedByAnnotation")
    assert it.condition("Paused") == ("True", "PausedByAnnotation", f"set: {PAUSED}")
    assert it.status()["plan"]["decode"] > 1, "plans are made all the same"
    annotate(it, paused="false")
    await run(it)
    assert it.replicas()[1] > 1
    assert it.condition("Paused")[0] == "False"


async def test_replicas_that_a_person_has_set_are_taken_back_once_when_asked(it: Bench) -> None:
    it.create()
    await it.tick()
    scales = ("deployments", "default", "chat-decode")
    it.fake.store.scale(scales, 2, manager="kubectl", operation="Update")
    await run(it, rate=60.0)
    assert it.condition("ScalingActive")[1] == "ReplicasOwnedElsewhere"
    annotate(it, take="2026-01-01T00:00:00Z")
    await run(it, ticks=1)
    fields = it.fake.get(*scales[::2])["metadata"]["managedFields"]
    claim = {e["manager"] for e in fields if "f:replicas" in e["fieldsV1"].get("f:spec", {})}
    assert claim == {"pdscale"}
    await run(it)
    assert it.condition("ScalingActive")[:2] == ("True", "PlansApplied")
    assert it.replicas()[1] > 2
    assert it.status()["tookReplicas"] == "2026-01-01T00:00:00Z"
    it.restart()
    it.fake.store.scale(scales, 2, manager="kubectl", operation="Update")
    await run(it)
    assert it.replicas()[1] == 2, "the same annotation takes nothing twice"
    assert it.condition("ScalingActive")[1] == "ReplicasOwnedElsewhere"


async def test_replicas_are_taken_in_a_mode_that_writes_none(it: Bench) -> None:
    it.create(scaling={"mode": "Paused"})
    await it.tick()
    scales = ("deployments", "default", "chat-decode")
    it.fake.store.scale(scales, 4, manager="kubectl", operation="Update")
    annotate(it, take="1")
    await run(it)
    assert it.replicas() == (1, 4)
    spec = {"spec": {"scaling": {"mode": "Auto"}}}
    it.fake.store.patch(KEY, spec, subresource="", manager="user", is_json=False)
    await run(it, rate=0.5)
    assert it.replicas() == (1, 1)


async def test_the_status_keeps_the_last_five_changes_newest_first(it: Bench) -> None:
    it.create()
    for rate in (30.0, 0.5) * 4:
        await run(it, rate=rate)
    history = it.status()["history"]
    assert len(history) == 5
    assert [h["time"] for h in history] == sorted((h["time"] for h in history), reverse=True)
    assert history[0]["decode"].endswith(f" -> {it.replicas()[1]}")
    assert history[0]["reasons"]


async def test_pods_that_go_are_shown_as_draining(it: Bench) -> None:
    it.create()
    await run(it)
    assert it.condition("Draining")[:2] == ("False", "NoPodsTerminating")
    key = ("pods", "default", "chat-decode-0")
    pod = it.fake.store.objects[key]
    pod["metadata"] |= {"finalizers": ["x"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    await it.tick(after=5)
    assert it.condition("Draining")[:2] == ("True", "PodsTerminating")


async def test_a_view_that_is_older_than_our_own_status_is_not_believed(it: Bench) -> None:
    """The watch may lag: with the old view a second proposal would replace the one that is being read."""
    from pdscale.controller.snapshot import Snapshot

    it.create(scaling={"mode": "Approve"})
    await it.tick()
    it.fake.run_pods()
    it.source.rate = 30.0
    old = Snapshot.of(it.fake.get(PLURAL, "chat"))
    await it.tick(after=15)
    made = it.status()["proposal"]
    it.now += 15
    await it.loop.tick(old)
    assert it.status()["proposal"] == made
