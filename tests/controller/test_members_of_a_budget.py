"""Two ServingDeployments and one ResourceQuota, on an API server over a socket."""

from typing import Any

import pytest

from fakes.kube import PLURAL
from fakes.operator import Bench
from fakes.serving import serving
from pdscale.controller.snapshot import Snapshot

Json = dict[str, Any]


def quota(it: Bench, gpus: str) -> None:
    body = {"metadata": {"name": "gpus"}, "spec": {"hard": {"requests.nvidia.com/gpu": gpus}}}
    it.fake.store.create("resourcequotas", "default", body)


def member(it: Bench, name: str, priority: int, **spec: Any) -> None:
    body = serving(scaling={"sharedBudget": {"resourceQuota": "gpus", "priority": priority}}, **spec)
    it.fake.store.create(PLURAL, "default", {**body, "metadata": {"name": name}})


async def tick(it: Bench, name: str, *, rate: float) -> None:
    it.source.rate = rate
    await it.loop.tick(Snapshot.of(it.fake.get(PLURAL, name)))


def held(it: Bench, *names: str) -> int:
    """GPUs that scales ask for and pods hold, whichever is more."""
    pods = [p for plural, _, p in it.fake.store.objects if plural == "pods"]
    total = 0
    for pool in (f"{name}-{role}" for name in names for role in ("prefill", "decode")):
        if it.fake.has("deployments", pool):
            wanted = it.fake.get("deployments", pool)["spec"]["replicas"]
            total += max(wanted, sum(p.startswith(f"{pool}-") for p in pods))
    return total


def told(it: Bench, name: str, kind: str) -> tuple[str, str, str]:
    conditions = it.fake.get(PLURAL, name)["status"]["conditions"]
    found = next(c for c in conditions if c["type"] == kind)
    return found["status"], found["reason"], found["message"]


async def run(it: Bench, rates: dict[str, float], *, ticks: int = 8) -> None:
    """Everybody ticks in turn; pods follow only after all have: those that go still hold their GPUs."""
    for _ in range(ticks):
        it.now += 15
        for name, rate in rates.items():
            await tick(it, name, rate=rate)
            assert held(it, *rates) <= 8
        it.fake.run_pods()


async def test_the_higher_priority_gets_what_it_wants_and_the_other_gives_back_first(it: Bench) -> None:
    quota(it, "8")
    member(it, "low", 0)
    member(it, "high", 5)
    await run(it, {"low": 500.0, "high": 0.5})
    assert (held(it, "low"), held(it, "high")) == (6, 2)
    await run(it, {"low": 500.0, "high": 500.0}, ticks=12)
    assert (held(it, "low"), held(it, "high")) == (2, 6)
    status, reason, message = told(it, "low", "BudgetSatisfied")
    assert (status, reason) == ("True", "SharedBudgetLimits")
    assert message.startswith("of ResourceQuota gpus 2 of 8 GPUs may be held here now, wanted are ")
    assert it.fake.get(PLURAL, "low")["status"]["gpus"] == {"budget": 10, "held": 2, "allowed": 2}


async def test_what_nobody_wants_any_more_goes_to_who_does(it: Bench) -> None:
    quota(it, "8")
    member(it, "high", 5)
    member(it, "low", 0)
    await run(it, {"high": 500.0, "low": 500.0}, ticks=12)
    assert held(it, "high") == 6
    await run(it, {"high": 0.5, "low": 500.0}, ticks=12)
    assert (held(it, "high"), held(it, "low")) == (2, 6)


async def test_pools_are_made_only_where_their_first_replicas_fit(it: Bench) -> None:
    quota(it, "3")
    member(it, "a", 0)
    member(it, "b", 0)
    await tick(it, "a", rate=0.5)
    it.fake.run_pods()
    await tick(it, "a", rate=0.5)
    await tick(it, "b", rate=0.5)
    assert told(it, "b", "Ready")[1] == "WaitingForGPUs"
    assert not it.fake.has("deployments", "b-decode")


async def test_after_a_restart_nobody_grows_before_the_others_have_spoken(it: Bench) -> None:
    quota(it, "8")
    member(it, "low", 0)
    member(it, "high", 5)
    await run(it, {"low": 0.5, "high": 0.5})
    it.restart()
    await tick(it, "low", rate=500.0)
    assert held(it, "low") == 2
    await run(it, {"low": 500.0, "high": 0.5})
    assert held(it, "low") == 6


@pytest.mark.parametrize(
    ("hard", "words"),
    [
        pytest.param(None, "got gpus: there is none", id="no quota"),
        pytest.param(
            "some", "must have a whole number as spec.hard['requests.nvidia.com/gpu']", id="no number"
        ),
    ],
)
async def test_a_cap_that_nobody_knows_stops_all_writes(it: Bench, hard: str | None, words: str) -> None:
    if hard is not None:
        quota(it, hard)
    member(it, "a", 0)
    await tick(it, "a", rate=30.0)
    status, reason, message = told(it, "a", "ScalingActive")
    assert (status, reason) == ("False", "SharedBudgetUnknown")
    assert words in message
    assert not it.fake.has("deployments", "a-decode")
