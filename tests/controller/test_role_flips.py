"""Running pods change their role, on an API server over a socket: order, drains, restarts in the middle."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fakes.drains import tell
from fakes.kube import PLURAL, Fault
from fakes.operator import Bench
from pdscale.engines.errors import EngineSilent, RoleRefused
from pdscale.kube.flips import FLIPPED_FROM, NOTE, noted
from pdscale.kube.gates import is_gated
from pdscale.kube.marks import DRAINING
from pdscale.model.pools import Role

ROLE = "pdscale.io/role"
SPEC: dict[str, Any] = {"gpuBudget": 5, "router": {"drainTimeout": "30s"}}
ENABLED = {"interval": "15s", "scaleDownWindow": "0s", "roleFlip": "Enabled"}


async def pools(it: Bench, *, prefill: int = 2, decode: int = 3, requests: float = 0, **scaling: str) -> None:
    """Two pools that fill the budget and stand still; their replicas tell of themselves."""
    it.create(**SPEC, scaling={**ENABLED, **scaling}, prefill=least(prefill), decode=least(decode))
    await quiet(it)
    for role, count in (("prefill", prefill), ("decode", decode)):
        for number in range(count):
            tell(it, f"chat-{role}-{number}", sessions=number, requests=requests)


def least(count: int) -> dict[str, int]:
    return {"minReplicas": count, "maxReplicas": count}


async def quiet(it: Bench, *, ticks: int = 4) -> None:
    for _ in range(ticks):
        await it.tick(after=5)
        it.fake.run_pods()


def bound(it: Bench, prefill: int, decode: int) -> None:
    patch = {"spec": {"prefill": least(prefill), "decode": least(decode)}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)


def pods(it: Bench) -> dict[str, str]:
    """Roles of all pods with an engine, by name."""
    found = {name: item for (plural, _, name), item in it.fake.store.objects.items() if plural == "pods"}
    roles = {name: item["metadata"]["labels"][ROLE] for name, item in found.items()}
    return {name: role for name, role in roles.items() if role != "router"}


def said(it: Bench, pod: str) -> dict[str, str]:
    found: dict[str, str] = it.fake.get("pods", pod)["metadata"].get("annotations") or {}
    return found


def gated(it: Bench) -> list[str]:
    return [name for name in pods(it) if is_gated(it.fake.get("pods", name))]


AFTER_ONE = {
    "chat-prefill-0": "decode",
    "chat-prefill-1": "prefill",
    "chat-decode-0": "decode",
    "chat-decode-1": "decode",
    "chat-decode-2": "decode",
}


async def test_an_idle_prefill_pod_becomes_a_decode_pod_and_no_other_pod_comes_or_goes(it: Bench) -> None:
    await pools(it)
    before = it.fake.get("pods", "chat-prefill-0")["metadata"]["uid"]
    bound(it, 1, 4)
    await it.tick(after=5)
    assert DRAINING in said(it, "chat-prefill-0"), "its queue ends first"
    assert it.replicas() == (2, 3)
    it.fake.calls.clear()
    await it.tick(after=5)
    assert it.replicas() == (1, 4)
    assert pods(it) == AFTER_ONE
    assert it.fake.get("pods", "chat-prefill-0")["metadata"]["uid"] == before
    assert FLIPPED_FROM in said(it, "chat-prefill-0")
    assert DRAINING not in said(it, "chat-prefill-0"), "routers use it again"
    it.fake.run_pods()
    assert pods(it) == AFTER_ONE


async def test_room_is_made_first_then_the_labels_change_and_the_giving_pool_shrinks_last(it: Bench) -> None:
    await pools(it)
    bound(it, 1, 4)
    await it.tick(after=5)
    it.fake.calls.clear()
    await it.tick(after=5)
    order = [call.path.rpartition("/default/")[2] for call in it.fake.writes()]
    begins = order.index("deployments/chat-decode")
    assert order[begins : begins + 5] == [
        "deployments/chat-decode",
        "deployments/chat-decode/scale",
        "pods/chat-prefill-0",
        "deployments/chat-prefill/scale",
        "deployments/chat-decode",
    ]


async def test_a_decode_pod_changes_its_role_when_its_streams_have_ended(it: Bench) -> None:
    await pools(it, requests=1)
    bound(it, 3, 2)
    await it.tick(after=5)
    await it.tick(after=15)
    assert (it.replicas(), pods(it)["chat-decode-0"]) == ((2, 3), "decode")
    tell(it, "chat-decode-0", requests=0)
    await it.tick(after=5)
    assert (it.replicas(), pods(it)["chat-decode-0"]) == ((3, 2), "prefill")


async def test_streams_that_do_not_end_are_waited_for_until_the_deadline(it: Bench) -> None:
    await pools(it, requests=1)
    bound(it, 3, 2)
    await it.tick(after=5)
    await it.tick(after=29)
    assert it.replicas() == (2, 3)
    await it.tick(after=1)
    assert it.replicas() == (3, 2)


async def test_replicas_that_tell_nothing_change_their_role_at_the_deadline(it: Bench) -> None:
    await pools(it)
    it.source.figures.clear()
    bound(it, 1, 4)
    await it.tick(after=5)
    await it.tick(after=29)
    assert it.replicas() == (2, 3)
    await it.tick(after=1)
    assert it.replicas() == (1, 4)


async def test_several_change_one_after_the_other(it: Bench) -> None:
    await pools(it, prefill=4, decode=1)
    bound(it, 2, 3)
    await it.tick(after=5)
    await it.tick(after=5)
    assert it.replicas() == (3, 2)
    it.fake.run_pods()
    await it.tick(after=5)
    assert it.replicas() == (2, 3)


async def test_nobody_goes_back_within_the_hold(it: Bench) -> None:
    await pools(it, scaleDownWindow="40s")
    bound(it, 1, 4)
    for _ in range(2):
        await it.tick(after=5)
    it.fake.run_pods()
    assert it.replicas() == (1, 4)
    bound(it, 2, 3)
    for after in (5, 20):
        await it.tick(after=after)
        assert it.replicas() == (1, 4), "neither flipped nor resized"
    for after in (20, 5):
        await it.tick(after=after)
    assert it.replicas() == (2, 3)


async def test_without_leave_a_replica_ends_and_another_one_starts(it: Bench) -> None:
    await pools(it, roleFlip="Disabled")
    bound(it, 1, 4)
    for _ in range(4):
        await it.tick(after=5)
        it.fake.run_pods()
    assert it.replicas() == (1, 4)
    assert "chat-prefill-0" not in pods(it)
    assert "RoleFlipPossible" not in {c["type"] for c in it.status()["conditions"]}


async def test_a_flip_is_told_everywhere(it: Bench) -> None:
    await pools(it)
    bound(it, 1, 4)
    await it.tick(after=5)
    await it.tick(after=5)
    assert it.condition("RoleFlipPossible")[:2] == ("True", "RolesAlike")
    change = it.status()["history"][0]
    assert (change["prefill"], change["decode"]) == ("2 -> 1", "3 -> 4")
    assert change["reasons"][-1] == "RoleFlipped"
    assert any(e["reason"] == "RoleFlipped" and "chat-prefill-0" in e["note"] for e in it.fake.events())
    registry = it.operator.metrics.registry
    labels = {"namespace": "default", "name": "chat", "role": "decode"}
    assert registry.get_sample_value("pdscale_operator_flips_total", labels) == 1


STEPS = (
    ("deployments/chat-decode", 1),
    ("deployments/chat-decode/scale", 1),
    ("pods/chat-prefill-0", 2),  # after the mark's cost
    ("deployments/chat-prefill/scale", 1),
    ("deployments/chat-decode", 2),
)


async def test_labels_wait_until_the_receiving_replica_set_has_heard_of_the_room(it: Bench) -> None:
    await pools(it)
    it.loop.resizing.flips = replace(it.loop.resizing.flips, patience=0.1)
    bound(it, 1, 4)
    await it.tick(after=5)
    it.fake.stalled = True
    for _ in range(2):
        await it.tick(after=5)
        assert (it.replicas(), pods(it)["chat-prefill-0"]) == ((2, 4), "prefill")
    it.fake.stalled = False
    await it.tick(after=5)
    assert (it.replicas(), pods(it)) == ((1, 4), AFTER_ONE)


async def test_the_giving_pool_shrinks_only_when_the_other_one_has_adopted_the_pod(it: Bench) -> None:
    await pools(it)
    it.loop.resizing.flips = replace(it.loop.resizing.flips, patience=0.1)
    bound(it, 1, 4)
    await it.tick(after=5)
    heard = it.fake.store.patch

    def stall(key: Any, patch: Any, **how: Any) -> Any:
        it.fake.stalled |= key == ("pods", "default", "chat-prefill-0") and ROLE in str(patch)
        return heard(key, patch, **how)

    it.fake.store.patch = stall  # type: ignore[method-assign]
    for _ in range(2):
        await it.tick(after=5)
        assert (it.replicas(), pods(it)["chat-prefill-0"]) == ((2, 4), "decode")
    it.fake.store.patch = heard  # type: ignore[method-assign]
    it.fake.stalled = False
    it.restart()
    await it.tick(after=5)
    assert (it.replicas(), pods(it)) == ((1, 4), AFTER_ONE)


@pytest.mark.parametrize(("where", "number"), STEPS)
async def test_an_operator_that_dies_before_a_step_finishes_when_it_is_back(
    it: Bench, where: str, number: int
) -> None:
    await pools(it)
    bound(it, 1, 4)
    await it.tick(after=5)
    seen = iter(range(1, 100))
    it.fake.faults.append(
        Fault(
            lambda c: c.method == "PATCH" and c.path.endswith(where) and next(seen) == number,
            status=503,
            times=1,
        )
    )
    await it.tick(after=5)
    assert all(f.times == 0 for f in it.fake.faults)
    it.fake.run_pods()
    it.restart()
    for _ in range(3):
        await it.tick(after=5)
        it.fake.run_pods()
    assert it.replicas() == (1, 4)
    assert pods(it) == AFTER_ONE
    assert gated(it) == []
    last = noted(it.fake.get("deployments", "chat-decode"))
    assert last is not None
    assert last.ended is not None


async def test_a_pod_that_dies_before_it_has_moved_leaves_both_pools_as_they_were(it: Bench) -> None:
    await pools(it)
    bound(it, 1, 4)
    await it.tick(after=5)
    it.fake.faults.append(
        Fault(lambda c: c.method == "PATCH" and "decode" in str(c.body) and "pods" in c.path)
    )
    await it.tick(after=5)
    assert it.replicas() == (2, 4), "in the middle"
    it.fake.faults.clear()
    it.fake.store.delete(("pods", "default", "chat-prefill-0"))
    bound(it, 2, 3)
    it.restart()
    await it.tick(after=5)
    assert it.replicas() == (2, 3)
    assert NOTE not in it.fake.get("deployments", "chat-decode")["metadata"]["annotations"]


async def test_a_giving_scale_that_somebody_else_owns_undoes_the_flip(it: Bench) -> None:
    await pools(it)
    for replicas in (1, 2):
        key = ("deployments", "default", "chat-prefill")
        it.fake.store.scale(key, replicas, manager="hpa", operation="Update")
    bound(it, 1, 4)
    for _ in range(3):
        await it.tick(after=5)
    assert it.condition("ScalingActive")[1] == "ReplicasOwnedElsewhere"
    assert it.replicas() == (2, 3)
    assert pods(it)["chat-prefill-0"] == "prefill"


@dataclass(slots=True)
class Engines:
    """Engines with roles of their own, and what each was told; ``error`` is the answer of all."""

    told: list[tuple[str, Role]] = field(default_factory=list)
    error: Exception | None = None

    async def switch(self, engine: str, role: Role) -> None:
        self.told.append((engine, role))
        if self.error is not None:
            raise self.error


async def sglang(it: Bench) -> Engines:
    """Idle pools of engines that are told their role, with a prefill pod marked for decode."""
    engines = Engines()
    it.loop.resizing.flips = replace(it.loop.resizing.flips, switch=engines.switch)
    engine = {"type": "SGLang", "image": "s:1", "port": 30000}
    it.create(
        **{**SPEC, "router": {"placement": "AlwaysRemote", "drainTimeout": "30s"}},
        engine=engine,
        scaling=ENABLED,
        prefill={**least(2), "startupTime": "60s"},
        decode={**least(3), "startupTime": "60s"},
    )
    await quiet(it)
    for name in pods(it):
        tell(it, name, sessions=int(name[-1]), requests=0)
    bound(it, 1, 4)
    await it.tick(after=5)
    return engines


async def test_an_engine_with_a_role_of_its_own_is_told_before_its_pod_moves(it: Bench) -> None:
    engines = await sglang(it)
    await it.tick(after=5)
    assert engines.told == [("http://10.0.0.1:30000", Role.DECODE)]
    assert (it.replicas(), pods(it)) == ((1, 4), AFTER_ONE)


async def test_an_engine_that_refuses_leaves_its_pod_and_pools_are_resized_the_ordinary_way(
    it: Bench,
) -> None:
    engines = await sglang(it)
    engines.error = RoleRefused("not with --enable-pd-role-switch")
    await it.tick(after=5)
    assert (it.replicas(), pods(it)["chat-prefill-0"]) == ((2, 3), "prefill")
    assert NOTE not in it.fake.get("deployments", "chat-decode")["metadata"]["annotations"]
    for _ in range(4):
        await it.tick(after=5)
        it.fake.run_pods()
    assert it.condition("RoleFlipPossible")[:2] == ("False", "EngineRefuses")
    assert (it.replicas(), "chat-prefill-0" in pods(it)) == ((1, 4), False)
    assert len(engines.told) == 1


async def test_an_engine_that_was_silent_is_asked_again(it: Bench) -> None:
    engines = await sglang(it)
    engines.error = EngineSilent("no answer")
    await it.tick(after=5)
    assert it.replicas() == (2, 3)
    engines.error = None
    await it.tick(after=5)
    assert (it.replicas(), pods(it)) == ((1, 4), AFTER_ONE)
    assert [role for _, role in engines.told] == [Role.DECODE, Role.DECODE]


async def test_an_engine_is_told_its_former_role_when_the_flip_is_undone(it: Bench) -> None:
    engines = await sglang(it)
    for replicas in (1, 2):
        key = ("deployments", "default", "chat-prefill")
        it.fake.store.scale(key, replicas, manager="hpa", operation="Update")
    await it.tick(after=5)
    assert [role for _, role in engines.told] == [Role.DECODE, Role.PREFILL]
    assert (it.replicas(), pods(it)["chat-prefill-0"]) == ((2, 3), "prefill")
