"""Drain before deletion, on an API server over a socket: marks, deadlines, and load that comes back."""

import math

from fakes.drains import bound, busy, marked, tell
from fakes.kube import PLURAL, Fault
from fakes.operator import Bench
from pdscale.kube.marks import COST, DRAINING, NOTED
from pdscale.kube.status import timestamp


async def test_the_replica_with_the_least_to_lose_drains_and_only_then_goes(it: Bench) -> None:
    await busy(it)
    bound(it, 2)
    await it.tick(after=5)
    assert (it.replicas()[1], marked(it)) == (3, {"chat-decode-1": "-1000"})
    assert it.condition("Draining") == (
        "True",
        "ReplicasDrain",
        "replicas that take no new sessions: 1 decode",
    )
    assert it.status()["decode"]["draining"] == 1
    await it.tick(after=5)
    assert it.replicas()[1] == 3
    tell(it, "chat-decode-1", requests=0)
    await it.tick(after=5)
    assert it.replicas()[1] == 2
    it.fake.run_pods()
    assert not it.fake.has("pods", "chat-decode-1")
    await it.tick(after=5)
    assert (it.condition("Draining")[0], it.status()["decode"]["draining"]) == ("False", 0)


async def test_a_drain_ends_at_its_deadline_though_streams_are_still_open(it: Bench) -> None:
    await busy(it)
    bound(it, 2)
    await it.tick(after=5)
    await it.tick(after=29)
    assert it.replicas()[1] == 3
    await it.tick(after=1)
    assert it.replicas()[1] == 2


async def test_load_that_comes_back_undoes_the_drain(it: Bench) -> None:
    await busy(it)
    bound(it, 1)
    await it.tick(after=5)
    assert set(marked(it)) == {"chat-decode-1", "chat-decode-2"}
    bound(it, 3)
    await it.tick(after=5)
    assert (it.replicas()[1], marked(it)) == (3, {})
    said = it.fake.get("pods", "chat-decode-1")["metadata"].get("annotations") or {}
    assert COST not in said
    assert it.condition("Draining")[0] == "False"


async def test_half_of_a_drain_is_undone_by_half(it: Bench) -> None:
    await busy(it)
    bound(it, 1)
    await it.tick(after=5)
    bound(it, 2)
    await it.tick(after=5)
    assert set(marked(it)) == {"chat-decode-1"}


async def test_of_several_the_idle_one_is_deleted_while_the_others_still_drain(it: Bench) -> None:
    await busy(it, decode=5)
    bound(it, 2)
    await it.tick(after=5)
    assert set(marked(it)) == {"chat-decode-1", "chat-decode-2", "chat-decode-3"}
    tell(it, "chat-decode-3", requests=0)
    await it.tick(after=5)
    assert it.replicas()[1] == 4
    it.fake.run_pods()
    assert not it.fake.has("pods", "chat-decode-3")
    assert set(marked(it)) == {"chat-decode-1", "chat-decode-2"}


async def test_a_restart_goes_on_with_the_drain_where_it_was(it: Bench) -> None:
    await busy(it)
    bound(it, 2)
    await it.tick(after=5)
    it.restart()
    await it.tick(after=20)
    assert (it.replicas()[1], set(marked(it))) == (3, {"chat-decode-1"})
    await it.tick(after=10)
    assert it.replicas()[1] == 2, "the deadline counts from the mark, not from the restart"


async def test_a_mode_that_writes_nothing_leaves_nobody_draining(it: Bench) -> None:
    await busy(it)
    bound(it, 2)
    await it.tick(after=5)
    patch = {"spec": {"scaling": {"mode": "Paused"}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    await it.tick(after=5)
    assert (it.replicas()[1], marked(it)) == (3, {})


async def test_nobody_drains_for_a_scale_that_somebody_else_owns(it: Bench) -> None:
    await busy(it)
    it.fake.store.scale(("deployments", "default", "chat-decode"), 4, manager="hpa", operation="Update")
    it.fake.run_pods()
    tell(it, "chat-decode-3", sessions=0, requests=0)
    for _ in range(3):  # drained, refused, given back
        await it.tick(after=5)
    assert it.condition("ScalingActive")[1] == "ReplicasOwnedElsewhere"
    assert (it.replicas()[1], marked(it)) == (4, {})
    it.fake.calls.clear()
    await it.tick(after=5)
    assert [c.path for c in it.fake.writes()] == [
        "/apis/apps/v1/namespaces/default/deployments/chat-decode/scale"
    ]


async def test_a_mark_that_a_person_has_set_is_left_alone_and_goes_first(it: Bench) -> None:
    await busy(it)
    mark_by_hand(it, "chat-decode-0")
    await it.tick(after=5)
    assert it.fake.get("pods", "chat-decode-0")["metadata"]["annotations"] == {DRAINING: "node 3"}
    tell(it, "chat-decode-0", requests=0)
    bound(it, 2)
    await it.tick(after=5)
    it.fake.run_pods()
    assert not it.fake.has("pods", "chat-decode-0")


async def test_a_pool_shrinks_by_a_pod_that_a_person_has_marked_and_that_never_tells(it: Bench) -> None:
    await busy(it)
    mark_by_hand(it, "chat-decode-0")
    del it.source.figures["open/chat-decode-0"], it.source.figures["sessions/chat-decode-0"]
    bound(it, 2)
    await it.tick(after=5)
    it.restart()
    await it.tick(after=29)
    assert it.replicas()[1] == 3
    await it.tick(after=1)
    assert it.replicas()[1] == 2
    it.fake.run_pods()
    assert not it.fake.has("pods", "chat-decode-0")
    await it.tick(after=5)
    assert it.condition("Draining")[0] == "False"


async def test_of_a_drain_that_is_undone_a_persons_mark_stays_and_nothing_else(it: Bench) -> None:
    await busy(it)
    mark_by_hand(it, "chat-decode-0")
    bound(it, 2)
    await it.tick(after=5)
    assert set(it.fake.get("pods", "chat-decode-0")["metadata"]["annotations"]) == {DRAINING, NOTED, COST}
    bound(it, 3)
    await it.tick(after=5)
    assert it.fake.get("pods", "chat-decode-0")["metadata"]["annotations"] == {DRAINING: "node 3"}


async def test_a_settled_pool_asks_for_no_figures_and_writes_nothing(it: Bench) -> None:
    await busy(it)
    await it.tick(after=5)
    it.source.queries.clear()
    it.fake.calls.clear()
    for _ in range(3):
        await it.tick(after=5)
    assert ([q for q in it.source.queries if "live_sessions" in q], it.fake.writes()) == ([], [])


async def test_a_pod_that_is_gone_before_its_mark_arrives_is_no_error(it: Bench) -> None:
    await busy(it)
    bound(it, 2)
    it.fake.faults.append(Fault(lambda c: c.method == "PATCH" and "/pods/" in c.path, status=404, times=1))
    await it.tick(after=5)
    assert it.condition("ScalingActive")[0] == "True"
    assert math.isclose(it.replicas()[1], 3)


async def test_the_right_to_mark_pods_that_is_missing_is_named(it: Bench) -> None:
    await busy(it)
    bound(it, 2)
    it.fake.faults.append(Fault(lambda c: c.method == "PATCH" and "/pods/" in c.path, status=403))
    await it.tick(after=5)
    await it.tick(after=5)
    status, reason, message = it.condition("ScalingActive")
    assert (status, reason) == ("False", "ApiRefusedForbidden")
    assert "PATCH /api/v1/namespaces/default/pods/chat-decode-1" in message


async def test_a_deleted_pod_counts_as_overdue_when_its_grace_period_is_over_and_no_sooner(it: Bench) -> None:
    await busy(it)
    told = {"namespace": "default", "name": "chat"}
    key = ("pods", "default", "chat-decode-2")
    gone = {"deletionTimestamp": timestamp(it.now + 60), "finalizers": ["somebody/else"]}
    it.fake.store.patch(key, {"metadata": gone}, subresource="", manager="me", is_json=False)
    for after, overdue in ((45, 0), (30, 1)):
        await it.tick(after=after)
        figures = it.operator.metrics.registry
        assert figures.get_sample_value("pdscale_operator_overdue_pods", told) == overdue


def mark_by_hand(it: Bench, pod: str) -> None:
    patch = {"metadata": {"annotations": {DRAINING: "node 3"}}}
    it.fake.store.patch(("pods", "default", pod), patch, subresource="", manager="me", is_json=False)
