"""Running replicas change their role under load, and templates reach one role after the other."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from kubernetes import client

from pdscale.controller.flip_course import PATIENCE
from pdscale.kube.flips import Flip, noted
from pdscale_e2e.cluster import Cluster
from pdscale_e2e.cluster.local import LocalCluster
from pdscale_e2e.objects import Objects, gpus_watched, on_nodes, serving
from pdscale_e2e.replay.run import Replay
from pdscale_e2e.replay.streaming import streaming
from pdscale_e2e.waiting import eventually, looking

pytestmark = [pytest.mark.cluster, pytest.mark.process_nodes, pytest.mark.workers]
PROCESS = on_nodes("process")
ROLE: Final = "pdscale.io/role"
MODEL: Final = "meta-llama/Llama-2-70b-chat-hf"
QUICK: Final = 2.0  # seconds from the label to the first answer in the new role
TRIES: Final = 3  # what else runs on the machine can only add time
EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "emulated-sglang.yaml"
FLIPPING: Final = {"roleFlip": "Enabled", "scaleDownWindow": "2s"}
TWO: Final = {"minReplicas": 2, "maxReplicas": 2}
ARGUMENT: Final = "--mean-answer-tokens"


def test_replicas_change_their_role_there_and_back_and_no_request_fails(objects: Objects) -> None:
    pools = {"prefill": {**PROCESS, **TWO}, "decode": {**PROCESS, **TWO}}
    url = deployed(objects, "flips", **pools, scaling=FLIPPING, gpuBudget=4)
    there = uids(objects, "flips")
    slowest: list[float] = []
    with (
        streaming(url, model=MODEL, every=0.5, tokens=40) as replay,
        gpus_watched(objects, "flips") as held,
    ):
        objects.wait("flips", kind="MetricsAvailable", status="True", within=60)
        for _ in range(TRIES):
            ways = [flipped(objects, "flips", replay, to) for to in ("decode", "prefill")]
            slowest.append(max(ways))
            if slowest[-1] < QUICK:
                break
    assert [o.error for o in replay.failed] == []
    assert len(replay.outcomes) == replay.sent
    assert max(held) <= 4, "the budget holds at every instant"
    assert uids(objects, "flips") == there, "no pod was made, and none ended"
    assert {c.restart_count for p in objects.pods("flips", "decode") for c in containers(p)} == {0}
    assert min(slowest) < QUICK
    (change, *_) = objects.get("flips")["status"]["history"]
    assert change["reasons"][-1] == "RoleFlipped"
    print(f"{len(replay.outcomes)} streams, 0 failed; slower way {', '.join(f'{s:.2f}s' for s in slowest)}")


def test_no_pod_ends_where_controllers_come_late_to_a_flip(objects: Objects, cluster: Cluster) -> None:
    if not isinstance(cluster, LocalCluster):
        pytest.skip("only the local cluster's controllers can be held up")
    pools = {"prefill": {**PROCESS, **TWO}, "decode": {**PROCESS, **TWO}}
    deployed(objects, "late", **pools, scaling=FLIPPING, gpuBudget=4)
    there = uids(objects, "late")
    for to in ("decode", "prefill"):
        sizes, bounds = after_a_flip(to)
        with cluster.frozen_controllers():
            objects.patch("late", **bounds)
            eventually(lambda: waits_for_room(objects, "late", to), within=60, what="a flip waits")  # noqa: B023
            assert uids(objects, "late") == there
            assert len(objects.pods("late", to)) == sizes[to] - 1, "no label has changed"
        objects.wait_replicas("late", sizes["prefill"], sizes["decode"])
        eventually(lambda: flips_ended(objects, "late", to), within=60, what="the flip is over")  # noqa: B023
        eventually(
            lambda: {r: len(ready(objects, "late", r)) for r in sizes} == sizes,  # noqa: B023
            within=30,
            what=f"{sizes} pods",
        )
        assert uids(objects, "late") == there, "no pod was made, and none ended"


def test_engines_with_a_role_of_their_own_are_told_to_change_and_no_request_fails(
    objects: Objects, cluster: Cluster
) -> None:
    two = {**PROCESS, **TWO, "startupTime": "20s"}
    engine = yaml.safe_load(EXAMPLE.read_text())["spec"]["engine"] | {"image": cluster.image("router")}
    url = deployed(objects, "rooms", prefill=two, decode=two, scaling=FLIPPING, gpuBudget=4, engine=engine)
    there = uids(objects, "rooms")
    with streaming(url, model=MODEL, every=0.5, tokens=40) as replay:
        objects.wait("rooms", kind="MetricsAvailable", status="True", within=60)
        ways = [flipped(objects, "rooms", replay, to) for to in ("decode", "prefill")]
    assert [o.error for o in replay.failed] == []
    assert len(replay.outcomes) == replay.sent
    assert uids(objects, "rooms") == there
    for role in ("prefill", "decode"):
        modes = {mode_of(pod) for pod in objects.pods("rooms", role)}
        assert modes == {role}
    print(f"{len(replay.outcomes)} streams, 0 failed; there and back {', '.join(f'{s:.2f}s' for s in ways)}")


def test_new_arguments_reach_decode_when_prefill_has_them(objects: Objects) -> None:
    pools = {"prefill": {**PROCESS, **TWO}, "decode": {**PROCESS, **TWO}}
    url = deployed(objects, "rolls", **pools, gpuBudget=4)
    with (
        streaming(url, model=MODEL, every=0.5, tokens=40) as replay,
        roles_in_motion(objects, "rolls") as seen,
    ):
        objects.patch("rolls", engine={"args": [ARGUMENT, "100"]})
        told = objects.wait("rolls", kind="RolledOut", status="False", reason="RollingOut")
        assert "prefill pods are replaced; after them: decode" in told
        eventually(lambda: seen.has("prefill"), within=60, what="prefill pods are replaced")
        eventually(lambda: new_ones(objects, "rolls", "decode") == 2, within=180, what="decode pods are new")
        objects.wait("rolls", kind="RolledOut", status="True", within=60)
    assert new_ones(objects, "rolls", "prefill") == 2
    assert seen.together == []
    assert [o.error for o in replay.failed] == []


def deployed(objects: Objects, name: str, **spec: Any) -> str:
    """Real processes; the address of the Service."""
    objects.create(serving(name, router={"drainTimeout": "30s"}, **spec))
    objects.wait(name, kind="Ready", status="True", within=120)
    for role in ("prefill", "decode"):
        eventually(lambda: len(ready(objects, name, role)) == 2, within=90, what=f"all {role} pods")  # noqa: B023
    return objects.answers(name, within=60)


def mode_of(pod: Any) -> str:
    """The role that an SGLang engine says it has."""
    found = httpx.get(f"http://{pod.status.pod_ip}:8000/server_info", timeout=5).json()
    return str(found["disaggregation_mode"])


def flipped(objects: Objects, name: str, replay: Replay, to: str) -> float:
    """Make one pool a replica larger at the other's cost; seconds until the pod serves in its new role."""
    before = {p.metadata.name for p in objects.pods(name, to)}
    sizes, bounds = after_a_flip(to)
    streams = len(replay.outcomes)
    objects.patch(name, **bounds)

    def moved() -> Any:
        return next((p for p in ready(objects, name, to) if p.metadata.name not in before), None)

    pod = eventually(moved, within=90, what=f"a running pod becomes {to}", every=0.02)
    took = serves(f"http://{pod.status.pod_ip}:8080", status=200 if to == "decode" else 503)
    eventually(
        lambda: {r: len(objects.pods(name, r)) for r in sizes} == sizes, within=30, what=f"{sizes} pods"
    )
    objects.wait_replicas(name, sizes["prefill"], sizes["decode"])
    eventually(lambda: len(replay.outcomes) > streams + 4, within=60, what="streams after the flip")
    return took


def after_a_flip(to: str) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """How large the pools are when the pod has come to this one, and the bounds that ask for it."""
    sizes = {"prefill": 1, "decode": 3} if to == "decode" else {"prefill": 2, "decode": 2}
    return sizes, {role: {"minReplicas": n, "maxReplicas": n} for role, n in sizes.items()}


def flip_into(objects: Objects, name: str, to: str) -> tuple[int, Flip | None]:
    """What the receiving pool's scale says, and its note."""
    apps: Any = client.AppsV1Api(objects.api)
    item = apps.read_namespaced_deployment(f"{name}-{to}", objects.namespace)
    return item.spec.replicas, noted({"metadata": {"annotations": item.metadata.annotations}})


def waits_for_room(objects: Objects, name: str, to: str) -> bool:
    """The scale says that a pod is to come, and the operator has waited longer than within one tick."""
    replicas, flip = flip_into(objects, name, to)
    under_way = flip is not None and flip.ended is None and flip.receiving == replicas
    return under_way and flip is not None and time.time() - flip.began > 2 * PATIENCE


def flips_ended(objects: Objects, name: str, to: str) -> bool:
    _, flip = flip_into(objects, name, to)
    return flip is not None and flip.ended is not None


def serves(url: str, *, status: int) -> float:
    """Seconds until the router beside the engine answers a round with this status."""
    began = time.monotonic()
    body = {"model": MODEL, "prompt": list(range(60)), "max_tokens": 1}

    def answered() -> bool:
        return httpx.post(f"{url}/v1/completions", json=body, timeout=20).status_code == status

    eventually(answered, within=20, what=f"{url} answers a round with {status}", every=0.05)
    return time.monotonic() - began


def ready(objects: Objects, name: str, role: str) -> list[Any]:
    def is_ready(pod: Any) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())

    return [p for p in objects.pods(name, role) if not p.metadata.deletion_timestamp and is_ready(p)]


def uids(objects: Objects, name: str) -> set[str]:
    return {p.metadata.uid for role in ("prefill", "decode") for p in objects.pods(name, role)}


def containers(pod: Any) -> list[Any]:
    return [*pod.status.container_statuses, *(pod.status.init_container_statuses or ())]


def new_ones(objects: Objects, name: str, role: str) -> int:
    pods = ready(objects, name, role)
    return sum(ARGUMENT in (p.spec.containers[0].args or ()) for p in pods) if len(pods) == 2 else 0


@dataclass(slots=True)
class Motion:
    """Which pools had pods of two templates, or too few, at each look; ``together`` are looks at both."""

    looks: list[tuple[str, ...]] = field(default_factory=list)

    def has(self, role: str) -> bool:
        return any(role in look for look in self.looks)

    @property
    def together(self) -> list[tuple[str, ...]]:
        return [look for look in self.looks if len(look) > 1]


@contextmanager
def roles_in_motion(objects: Objects, name: str) -> Iterator[Motion]:
    apps: Any = client.AppsV1Api(objects.api)
    seen = Motion()

    def moving(role: str) -> bool:
        item = apps.read_namespaced_deployment(f"{name}-{role}", objects.namespace)
        status = item.status
        unseen = (status.observed_generation or 0) < item.metadata.generation
        return unseen or (status.updated_replicas or 0) < (status.replicas or 0)

    with looking(lambda: seen.looks.append(tuple(r for r in ("prefill", "decode") if moving(r))), every=0.1):
        yield seen
