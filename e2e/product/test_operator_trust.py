"""Two operators and one writer; and what an operator does when somebody else has a say in the replicas."""

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes import client, watch
from urllib3.exceptions import HTTPError

from pdscale_e2e.cluster import Cluster
from pdscale_e2e.install import NAMESPACE, lease_holder, pod_of, wait_for_operator
from pdscale_e2e.objects import GROUP, PLURAL, Objects, gpus_watched, on_nodes, serving
from pdscale_e2e.waiting import eventually

pytestmark = pytest.mark.cluster
STATUS = on_nodes("status")
TAKEN_OVER = 15.0  # seconds after the death of the holder, at most


@pytest.fixture
def chat(objects: Objects) -> Objects:
    wait_for_operator(objects.api)
    objects.create(serving("chat", prefill=STATUS, decode=STATUS))
    objects.wait("chat", kind="Ready", status="True", within=60)
    return objects


@pytest.mark.process_nodes
def test_when_the_holder_is_killed_the_other_writes_within_fifteen_seconds(chat: Objects) -> None:
    with audited(chat, "chat") as terms:
        holder = lease_holder(chat.api)
        os.kill(pid_of(pod_of(holder)), signal.SIGKILL)
        died = time.monotonic()
        chat.patch("chat", decode={"minReplicas": 2})
        chat.wait_replicas("chat", 1, 2, within=TAKEN_OVER)
        took = time.monotonic() - died
        chat.wait("chat", kind="Ready", status="True", within=30)
    assert lease_holder(chat.api) != holder
    assert took > 5, "the lease was respected"
    assert_one_writer_a_term(terms)
    print(f"written {took:.1f}s after the holder was killed")


@pytest.mark.process_nodes
def test_a_holder_that_was_frozen_beyond_its_lease_wakes_up_and_writes_nothing(chat: Objects) -> None:
    holder = lease_holder(chat.api)
    frozen = pid_of(pod_of(holder))
    with audited(chat, "chat") as terms:
        os.kill(frozen, signal.SIGSTOP)
        try:
            chat.patch("chat", decode={"minReplicas": 2})
            chat.wait_replicas("chat", 1, 2, within=TAKEN_OVER)
            chat.wait("chat", kind="Ready", status="True", within=30)
        finally:
            os.kill(frozen, signal.SIGCONT)
        eventually(
            lambda: leads(chat, pod_of(holder)) == 0.0, within=20, what=f"{holder} says that it leads no more"
        )
        chat.patch("chat", decode={"minReplicas": 3})
        chat.wait_replicas("chat", 1, 3)
        chat.wait("chat", kind="Ready", status="True", within=30)
    assert pid_of(pod_of(holder)) == frozen, "the same process is a candidate again"
    assert len({t for t, _ in terms}) == 2
    assert_one_writer_a_term(terms)


@pytest.mark.process_nodes  # on kind, both are deleted in the middle of a resize (test_scaling)
def test_two_operators_that_start_at_once_have_one_writer(chat: Objects) -> None:
    core = client.CoreV1Api(chat.api)
    with audited(chat, "chat") as terms:
        for pod in core.list_namespaced_pod(NAMESPACE).items:
            core.delete_namespaced_pod(pod.metadata.name, NAMESPACE, grace_period_seconds=0)
        chat.patch("chat", decode={"minReplicas": 2})
        chat.wait_replicas("chat", 1, 2, within=60)
        wait_for_operator(chat.api)
        names = [p.metadata.name for p in core.list_namespaced_pod(NAMESPACE).items]
        assert len(names) == 2
        assert sorted(leads(chat, name) for name in names) == [0.0, 1.0]
    assert_one_writer_a_term(terms)


def test_a_plan_waits_for_pdscale_approve_and_the_reasons_are_explained(
    chat: Objects, dial: Callable[[str, float], None], cluster: Cluster, tmp_path: Path
) -> None:
    chat.patch("chat", scaling={"mode": "Approve"})
    dial("chat", 11.0)
    message = chat.wait("chat", kind="ScalingActive", status="False", reason="AwaitingApproval", within=60)
    assert "annotation pdscale.io/approve" in message
    assert chat.replicas("chat") == (1, 1)
    reader = a_reader(chat, cluster, tmp_path / "reader")
    told = asked("explain", "chat", "-n", chat.namespace, kubeconfig=reader)
    waits = chat.get("chat")["status"]["proposal"]
    assert f"pdscale approve chat (annotation pdscale.io/approve={waits['id']})" in told
    assert {"traffic", "one replica", "need", "candidates", "binding"} <= {
        x[2:15].strip() for x in told.split("\n")
    }
    print(told)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        asked("approve", "chat", "-n", chat.namespace, kubeconfig=reader)
    assert "403" in refused.value.stderr, "who may only look may not approve"
    waits = chat.get("chat")["status"]["proposal"]
    asked("approve", "chat", "-n", chat.namespace, "--proposal", waits["id"], kubeconfig=cluster.kubeconfig)
    chat.wait_replicas("chat", waits["prefill"], waits["decode"])
    parts = json.loads(asked("explain", "chat", "-n", chat.namespace, "-o", "json", kubeconfig=reader))
    assert parts["history"][0]["prefill"].endswith(f"-> {waits['prefill']}")


def test_replicas_set_by_kubectl_scale_are_left_until_somebody_says_take(
    chat: Objects, cluster: Cluster
) -> None:
    apps: Any = client.AppsV1Api(chat.api)
    scale = {"spec": {"replicas": 2}}
    apps.patch_namespaced_deployment_scale("chat-decode", chat.namespace, scale, field_manager="kubectl")
    chat.patch("chat", decode={"minReplicas": 3})
    message = chat.wait("chat", kind="ScalingActive", status="False", reason="ReplicasOwnedElsewhere")
    assert message.startswith("decode: kubectl set the replicas")
    assert chat.replicas("chat") == (1, 2)
    asked("take", "chat", "-n", chat.namespace, kubeconfig=cluster.kubeconfig)
    chat.wait_replicas("chat", 1, 3)
    chat.wait("chat", kind="ScalingActive", status="True")
    chat.patch("chat", decode={"minReplicas": 4})
    chat.wait_replicas("chat", 1, 4)
    scale = {"spec": {"replicas": 2}}
    apps.patch_namespaced_deployment_scale("chat-decode", chat.namespace, scale, field_manager="kubectl")
    chat.wait("chat", kind="ScalingActive", status="False", reason="ReplicasOwnedElsewhere")
    assert chat.replicas("chat") == (1, 2), "it was taken once, not for ever"


def test_kedas_pause_is_obeyed(chat: Objects, dial: Callable[[str, float], None]) -> None:
    annotate(chat, "autoscaling.keda.sh/paused", "true")
    dial("chat", 11.0)
    chat.wait("chat", kind="ScalingActive", status="False", reason="PausedByAnnotation")
    eventually(
        lambda: chat.get("chat")["status"]["plan"]["decode"] >= 4, within=60, what="a plan for the load"
    )
    assert chat.replicas("chat") == (1, 1)
    annotate(chat, "autoscaling.keda.sh/paused", None)
    eventually(lambda: chat.replicas("chat")[1] >= 4, within=30, what="the plan is applied")


def test_an_object_made_again_while_its_pods_go_keeps_the_budget(objects: Objects) -> None:
    again = serving(
        "again",
        prefill={**STATUS, "minReplicas": 2},
        decode={**STATUS, "minReplicas": 2},
        gpuBudget=4,
        router={"drainTimeout": "10s"},
    )
    objects.create(copy.deepcopy(again))
    objects.wait("again", kind="Ready", status="True", within=60)
    with gpus_watched(objects, "again") as seen:
        objects.delete("again")
        eventually(lambda: not objects.exists("again"), within=30, what="the object is gone")
        made = objects.create(copy.deepcopy(again))
        objects.wait("again", kind="Ready", status="True", within=120)
    assert objects.get("again")["metadata"]["uid"] == made["metadata"]["uid"]
    apps: Any = client.AppsV1Api(objects.api)
    for deployment in apps.list_namespaced_deployment(objects.namespace).items:
        assert deployment.metadata.owner_references[0].uid == made["metadata"]["uid"]
    assert max(seen) <= 4, f"GPUs held: {sorted(set(seen))}"


def test_a_namespace_goes_with_its_objects(chat: Objects) -> None:
    core: Any = client.CoreV1Api(chat.api)
    core.delete_namespace(chat.namespace)
    eventually(lambda: not chat.exists("chat"), within=30, what="the ServingDeployment is gone")
    eventually(
        lambda: chat.namespace not in {n.metadata.name for n in core.list_namespace().items},
        within=90,
        what="the namespace is gone",
    )
    core.create_namespace({"metadata": {"name": chat.namespace}})  # which the fixture takes away


def annotate(objects: Objects, name: str, value: str | None) -> None:
    custom: Any = client.CustomObjectsApi(objects.api)
    patch = {"metadata": {"annotations": {name: value}}}
    custom.patch_namespaced_custom_object(*GROUP, objects.namespace, PLURAL, "chat", patch)


def asked(*arguments: str, kubeconfig: Path) -> str:
    command = [sys.executable, "-m", "pdscale", *arguments, "--kubeconfig", str(kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def a_reader(objects: Objects, cluster: Cluster, file: Path) -> Path:
    """A kubeconfig of somebody who may get ServingDeployments and nothing else."""
    core: Any = client.CoreV1Api(objects.api)
    rbac: Any = client.RbacAuthorizationV1Api(objects.api)
    where, named = objects.namespace, {"metadata": {"name": "reader"}}
    core.create_namespaced_service_account(where, named)
    rules = [{"apiGroups": [GROUP[0]], "resources": [PLURAL], "verbs": ["get"]}]
    rbac.create_namespaced_role(where, {**named, "rules": rules})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": where}]
    rbac.create_namespaced_role_binding(where, {**named, "roleRef": role, "subjects": subjects})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    token = core.create_namespaced_service_account_token("reader", where, request).status.token
    content = yaml.safe_load(cluster.kubeconfig.read_text())
    for user in content["users"]:
        user["user"] = {"token": token}
    file.write_text(json.dumps(content))
    return file


@contextmanager
def audited(objects: Objects, name: str) -> Iterator[list[tuple[int, str]]]:
    """Every version of an object that the API server stores meanwhile, by its writer: term and holder.

    Ends when the next holder has written one: its ``/scale`` comes before its first status.
    """
    custom: Any = client.CustomObjectsApi(objects.api)
    seen: list[tuple[int, str]] = []
    stream, over = watch.Watch(), threading.Event()

    def follow() -> None:
        arguments = (*GROUP, objects.namespace, PLURAL)
        try:
            for event in stream.stream(custom.list_namespaced_custom_object, *arguments, timeout_seconds=300):
                found = event["object"].get("status", {}).get("writer")
                if event["object"]["metadata"]["name"] == name and found:
                    seen.append((found["term"], found["holder"]))
        except (HTTPError, OSError, ValueError):
            if not over.is_set():
                raise  # what the audit has missed must not pass for silence

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    eventually(lambda: seen, within=20, what="the audit has begun")
    try:
        yield seen
        eventually(
            lambda: len(set(seen)) > 1, within=20, what=f"another holder has written {name}, after {seen}"
        )
    finally:
        over.set()
        stream.stop()
        follower.join(timeout=5)


def assert_one_writer_a_term(terms: list[tuple[int, str]]) -> None:
    assert [t for t, _ in terms] == sorted(t for t, _ in terms), "no version by an earlier holder"
    assert len(set(terms)) == len({t for t, _ in terms}), "one holder a term"


def leads(objects: Objects, pod: str) -> float:
    core: Any = client.CoreV1Api(objects.api)
    address = core.read_namespaced_pod(pod, NAMESPACE).status.pod_ip
    text = httpx.get(f"http://{address}:9090/metrics", timeout=5).text
    line = next(x for x in text.splitlines() if x.startswith("pdscale_operator_leader "))
    return float(line.rpartition(" ")[2])


def pid_of(pod: str) -> int:
    """The operator's process of a pod on a node that runs processes."""
    wanted = f"POD_NAME={pod}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or not ours to look at
        if wanted in environment and b"operator" in command:
            return int(folder.name)
    raise LookupError(f"no process of pod {pod}")
