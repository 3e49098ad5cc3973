"""Templates reach one role after the other: by values, and on an API server over a socket."""

from typing import Any

import pytest

from fakes.kube import PLURAL
from fakes.kube_fields import Object
from fakes.operator import Bench
from pdscale.controller.drafts import Draft
from pdscale.controller.rollout import SETTLED, Rollout, staged
from pdscale.kube.rollouts import STUCK, TEMPLATE
from pdscale.model.pools import Role

POOLS = {Role.PREFILL: "chat-prefill", Role.DECODE: "chat-decode"}
DEADLINE = {"type": "Progressing", "status": "False", "reason": STUCK, "message": "timed out progressing"}


def pool(name: str, template: str, **status: Any) -> Object:
    """A Deployment of two replicas that is done with its roll-out, but for what ``status`` says."""
    done = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    metadata = {"name": name, "generation": 3, "annotations": {TEMPLATE: template}}
    return {
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"replicas": 2},
        "status": {**done, **status},
    }


def draft(name: str) -> Draft:
    """A pool's, of the spec's template v2."""
    role = next(r for r in Role if POOLS[r] == name)
    return Draft(f"deployments/{name}", "Deployment", name, "", role, "v2", None)


ROLLING = {"updatedReplicas": 1, "availableReplicas": 1}
STARTING = {"availableReplicas": 1}
UNSEEN = {"observedGeneration": 2}


@pytest.mark.parametrize(
    ("prefill", "decode", "applied", "found"),
    [
        pytest.param(("v2", {}), ("v2", {}), "PD", SETTLED, id="nothing changes"),
        pytest.param(("v1", {}), ("v1", {}), "P", Rollout(Role.PREFILL, (Role.DECODE,)), id="prefill first"),
        pytest.param(
            ("v2", UNSEEN), ("v1", {}), "P", Rollout(Role.PREFILL, (Role.DECODE,)), id="not even seen"
        ),
        pytest.param(
            ("v2", ROLLING),
            ("v1", {}),
            "P",
            Rollout(Role.PREFILL, (Role.DECODE,), lacking=1),
            id="prefill rolls",
        ),
        pytest.param(
            ("v2", STARTING),
            ("v1", {}),
            "P",
            Rollout(Role.PREFILL, (Role.DECODE,), lacking=1),
            id="the last new pod starts",
        ),
        pytest.param(("v2", {}), ("v1", {}), "PD", Rollout(Role.DECODE), id="then decode"),
        pytest.param(("v2", {}), ("v2", ROLLING), "PD", Rollout(Role.DECODE, lacking=1), id="decode rolls"),
        pytest.param(("v2", {}), ("v2", STARTING), "PD", SETTLED, id="a pod that starts is no roll-out"),
        pytest.param(("v2", UNSEEN), ("v2", {}), "PD", SETTLED, id="a scale that was written is no roll-out"),
        pytest.param(
            ("v1", ROLLING),
            ("v0", {}),
            "P",
            Rollout(Role.PREFILL, (Role.DECODE,)),
            id="edited while prefill rolls",
        ),
        pytest.param(
            ("v1", {}),
            ("v1", ROLLING),
            "D",
            Rollout(Role.DECODE, (Role.PREFILL,)),
            id="edited while decode rolls",
        ),
        pytest.param(
            ("v1", ROLLING),
            ("v1", STARTING),
            "P",
            Rollout(Role.PREFILL, (Role.DECODE,)),
            id="both are broken",
        ),
        pytest.param(
            ("v2", {**ROLLING, "conditions": [DEADLINE]}),
            ("v1", {}),
            "P",
            Rollout(Role.PREFILL, (Role.DECODE,), "timed out progressing", 1),
            id="prefill is stuck",
        ),
    ],
)
def test_one_pool_gets_its_template_when_the_other_has_finished(
    prefill: tuple[str, Object], decode: tuple[str, Object], applied: str, found: Rollout
) -> None:
    """``applied`` are the pools whose manifests may be applied: P, D. The spec's template is v2."""
    states = {Role.PREFILL: prefill, Role.DECODE: decode}
    live = {POOLS[role]: pool(POOLS[role], text, **status) for role, (text, status) in states.items()}
    service = Draft("services/chat-decode", "Service", "chat-decode", "", None, None, None)
    now, rollout = staged([service, *map(draft, POOLS.values())], live, "chat")
    assert rollout == found
    names = [d.name for d in now]
    assert names == ["chat-decode", *(POOLS[r] for r in Role if r[0].upper() in applied)]


def test_a_pool_that_is_not_there_yet_waits_for_nobody() -> None:
    live = {"chat-prefill": pool("chat-prefill", "v2", **ROLLING)}
    assert len(staged([*map(draft, POOLS.values())], live, "chat")[0]) == 2


def test_a_template_from_before_digests_were_noted_counts_as_another_one() -> None:
    live = {name: pool(name, "v2") for name in POOLS.values()}
    del live["chat-decode"]["metadata"]["annotations"]
    assert staged([*map(draft, POOLS.values())], live, "chat")[1] == Rollout(Role.DECODE)


def new_image(it: Bench, image: str) -> None:
    patch = {"spec": {"engine": {"image": image}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)


def images(it: Bench) -> tuple[str, str]:
    """Of the engines: prefill, decode."""
    specs = [it.fake.get("deployments", name)["spec"]["template"]["spec"] for name in POOLS.values()]
    prefill, decode = (str(spec["containers"][0]["image"]) for spec in specs)
    return prefill, decode


async def running(it: Bench) -> None:
    it.create(engine={"image": "e:1"})
    await it.tick()
    it.fake.run_pods()
    await it.tick(after=15)
    assert it.condition("RolledOut")[:2] == ("True", "TemplatesInForce")


async def test_an_image_reaches_decode_when_prefill_runs_it_and_the_condition_says_so(it: Bench) -> None:
    await running(it)
    new_image(it, "e:2")
    assert await it.tick(after=15) == 5, "the next look comes soon"
    assert images(it) == ("e:2", "e:1")
    told = ("False", "RollingOut", "prefill pods are replaced; after them: decode")
    assert it.condition("RolledOut") == told
    await it.tick(after=5)
    assert images(it) == ("e:2", "e:1"), "prefill has not finished"
    it.fake.run_pods()
    await it.tick(after=5)
    assert images(it) == ("e:2", "e:2")
    it.fake.run_pods()
    await it.tick(after=5)
    assert it.condition("RolledOut")[0] == "True"
    (event,) = (e for e in it.fake.events() if e["reason"] == "RollingOut")
    assert event["type"] == "Normal"


async def test_a_restart_goes_on_with_the_roll_out_where_it_was(it: Bench) -> None:
    await running(it)
    new_image(it, "e:2")
    await it.tick(after=15)
    it.restart()
    await it.tick(after=5)
    assert images(it) == ("e:2", "e:1")
    it.fake.run_pods()
    it.restart()
    await it.tick(after=5)
    assert images(it) == ("e:2", "e:2")


async def test_a_role_that_is_stuck_holds_the_other_and_an_edit_repairs_it(it: Bench) -> None:
    await running(it)
    new_image(it, "e:broken")
    await it.tick(after=15)
    key = ("deployments", "default", "chat-prefill")
    stuck = {"observedGeneration": 99, "updatedReplicas": 0, "conditions": [DEADLINE]}
    it.fake.patch_status(key, {"status": stuck})
    await it.tick(after=600)
    assert images(it) == ("e:broken", "e:1")
    assert it.condition("RolledOut") == (
        "False",
        "RolloutStuck",
        "prefill: timed out progressing; after them: decode",
    )
    new_image(it, "e:1")
    await it.tick(after=5)
    assert images(it) == ("e:1", "e:1")
