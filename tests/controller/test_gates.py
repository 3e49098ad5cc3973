"""Gates are lifted as far as the budget goes: values in, values out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.kube_fields import Object
from fakes.operator import Bench
from fakes.serving import serving
from pdscale.api import translate
from pdscale.controller.gating import LOOK_AGAIN, admitted
from pdscale.controller.observe import Workloads
from pdscale.kube.gates import GATE, is_gated
from pdscale.perf.builtin import BUILTIN

STATES = ("running", "gated", "ending", "ended", "gated-ending")


def pod(role: str, state: str, number: int = 0) -> Object:
    metadata: Object = {
        "name": f"chat-{role}-{number}",
        "labels": {"pdscale.io/role": role},
        "creationTimestamp": f"2026-01-01T00:00:{number:02}Z",
    }
    if "ending" in state:
        metadata["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    gates = [{"name": "other"}, {"name": GATE}] if "gated" in state else []
    phase = "Succeeded" if state == "ended" else "Running"
    return {"metadata": metadata, "spec": {"schedulingGates": gates}, "status": {"phase": phase}}


def workloads(pods: list[Object], *, prefill: int, decode: int) -> Workloads:
    counts = {"chat-prefill": prefill, "chat-decode": decode}
    return Workloads({n: {"spec": {"replicas": c}} for n, c in counts.items()}, tuple(pods))


def lifted(pods: list[Object], budget: int, *, prefill: int = 4, decode: int = 4) -> list[str]:
    spec = translate.read(serving(gpuBudget=budget)).spec
    policy = translate.policy(spec, BUILTIN["llama-3.1-8b-h100"])
    found = admitted(workloads(pods, prefill=prefill, decode=decode), "chat", policy)
    return [p["metadata"]["name"] for p in found]


@pytest.mark.parametrize(
    ("pods", "budget", "found"),
    [
        pytest.param([pod("prefill", "gated")], 4, ["chat-prefill-0"], id="room"),
        pytest.param([pod("decode", "running"), pod("prefill", "gated")], 2, ["chat-prefill-0"], id="just"),
        pytest.param(
            [pod("decode", "ending"), pod("decode", "running", 1), pod("prefill", "gated")],
            2,
            [],
            id="who ends holds its GPU",
        ),
        pytest.param(
            [pod("decode", "ended"), pod("decode", "running", 1), pod("prefill", "gated")],
            2,
            ["chat-prefill-0"],
            id="who has ended holds none",
        ),
        pytest.param(
            [pod("decode", "running"), pod("prefill", "gated", 5), pod("decode", "gated", 4)],
            2,
            ["chat-decode-4"],
            id="the eldest first",
        ),
        pytest.param([pod("prefill", "gated-ending")], 4, [], id="who goes needs none"),
    ],
)
def test_gates_are_lifted_as_far_as_the_budget_goes(
    pods: list[Object], budget: int, found: list[str]
) -> None:
    assert lifted(pods, budget) == found


def test_a_pod_that_its_pool_does_not_want_keeps_its_gate() -> None:
    there = [pod("prefill", "running"), pod("prefill", "gated", 1)]
    assert lifted(there, 8, prefill=1) == []
    assert lifted(there, 8, prefill=2) == ["chat-prefill-1"]


@given(
    st.lists(st.tuples(st.sampled_from(["prefill", "decode"]), st.sampled_from(STATES)), max_size=12),
    st.integers(2, 8),
)
def test_pods_that_may_hold_gpus_are_never_made_more_than_the_budget(
    there: list[tuple[str, str]], budget: int
) -> None:
    pods = [pod(role, state, number) for number, (role, state) in enumerate(there)]
    held = sum(state in ("running", "ending") for _, state in there)
    assert held + len(lifted(pods, budget)) <= max(budget, held)


async def test_pods_start_gated_and_are_let_go_at_the_next_look(it: Bench) -> None:
    scaling: dict[str, Any] = {"roleFlip": "Enabled", "interval": "15s"}
    it.create(scaling=scaling)
    await it.tick()
    it.fake.run_pods()
    assert is_gated(it.fake.get("pods", "chat-decode-0"))
    await it.tick(after=5)
    assert not is_gated(it.fake.get("pods", "chat-decode-0"))
    assert not is_gated(it.fake.get("pods", "chat-prefill-0"))


async def test_while_a_pod_waits_for_room_the_next_look_comes_soon(it: Bench) -> None:
    it.create(scaling={"roleFlip": "Enabled", "interval": "15s"}, gpuBudget=2)
    await it.tick()
    it.fake.run_pods()
    leaving = {
        "metadata": {"name": "old-1", "labels": _labels(it), "deletionTimestamp": "2026-01-01T00:00:00Z"}
    }
    it.fake.store.create("pods", "default", {**leaving, "spec": {"nodeName": "n"}}, "kubelet")
    assert await it.tick(after=5) == LOOK_AGAIN
    assert is_gated(it.fake.get("pods", "chat-prefill-0")) or is_gated(it.fake.get("pods", "chat-decode-0"))
    it.fake.store.delete(("pods", "default", "old-1"))
    await it.tick(after=1)
    assert not is_gated(it.fake.get("pods", "chat-prefill-0"))
    assert not is_gated(it.fake.get("pods", "chat-decode-0"))


def _labels(it: Bench) -> dict[str, str]:
    found: dict[str, str] = it.fake.get("pods", "chat-decode-0")["metadata"]["labels"]
    return found
