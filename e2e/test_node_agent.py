"""The node agent behaves like a kubelet wherever the product could tell the difference."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from pdscale_e2e.asking import Unsuccessful, ask
from pdscale_e2e.cluster import Capability, Cluster, Nodes
from pdscale_e2e.namespace import MARK
from pdscale_e2e.nodes.spec import GPU, Mode, NodeSpec
from pdscale_e2e.waiting import eventually

pytestmark = pytest.mark.process_nodes

SPECIMEN = ["python", "-m", "pdscale_e2e.specimen"]
PROBE = {"periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 1}


@pytest.fixture(scope="module")
def worker(cluster: Cluster) -> Iterator[Nodes]:
    """A node with GPUs that runs processes."""
    if Capability.PROCESS_NODES not in cluster.capabilities:
        pytest.skip("this cluster has no nodes that run processes")
    node = NodeSpec("agent-worker", mode=Mode.PROCESS, gpus=4, backoff_cap=1.0)
    added = cluster.add_nodes([node])
    yield added
    added.stop()


def is_ready(pod: client.V1Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods of one test, and what their containers wrote."""

    api: client.ApiClient
    namespace: str
    logs: Path

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    def create(self, name: str, *containers: dict[str, Any], **spec: Any) -> None:
        labels = spec.pop("labels", {})
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": "agent-worker"},
                "tolerations": [{"key": GPU, "operator": "Exists"}],
                "containers": list(containers),
                **spec,
            },
        }
        self.core.create_namespaced_pod(self.namespace, body)

    def read(self, name: str) -> client.V1Pod:
        return self.core.read_namespaced_pod(name, self.namespace)

    def is_ready(self, name: str) -> bool:
        return is_ready(self.read(name))

    def status(self, name: str, container: str = "main") -> client.V1ContainerStatus:
        status = self.read(name).status
        every = [*(status.container_statuses or ()), *(status.init_container_statuses or ())]
        return {each.name: each for each in every}[container]

    def started(self, name: str) -> str:
        """Waits for the pod to be Ready; returns the URL of its port 8000."""
        eventually(lambda: self.is_ready(name), within=20, what=f"pod {name} to be Ready")
        return f"http://{self.read(name).status.pod_ip}:8000"

    def written(self, name: str, container: str = "main", run: int = 0) -> dict[str, float]:
        """What happened and when, by the clock that all processes share."""
        log = self.logs / f"{self.namespace}_{name}" / f"{container}.{run}.log"
        # A server's complaint about a probe that hung up is no note.
        notes = re.findall(r"^([0-9.]+) (.+)$", log.read_text(), re.MULTILINE)
        return {what: float(when) for when, what in notes}

    def delete(self, name: str, grace: int) -> None:
        self.core.delete_namespaced_pod(name, self.namespace, grace_period_seconds=grace)

    def gone(self, name: str) -> bool:
        pods = self.core.list_namespaced_pod(self.namespace).items
        return all(pod.metadata.name != name for pod in pods)


@pytest.fixture
def pods(api: client.ApiClient, namespace: str, worker: Nodes) -> Iterator[Pods]:
    mine = Pods(api, namespace, worker.logs)
    yield mine
    for pod in mine.core.list_namespaced_pod(namespace).items:
        mine.delete(pod.metadata.name, 0)


def container(name: str = "main", **fields: Any) -> dict[str, Any]:
    environment = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *fields.pop("env", ()),
    ]
    base = {"name": name, "image": "none", "command": SPECIMEN, "env": environment}
    return {**base, "readinessProbe": {**PROBE, "httpGet": {"path": "/ready", "port": 8000}}, **fields}


def from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def found(url: str, what: str) -> Any:
    return json.loads(ask("GET", f"{url}/{what}"))


def test_a_container_sees_its_environment_and_arguments_and_nothing_of_ours(pods: Pods) -> None:
    pods.core.create_namespaced_config_map(
        pods.namespace, {"metadata": {"name": "settings"}, "data": {"MODE": "fast", "other": "x"}}
    )
    pods.core.create_namespaced_secret(
        pods.namespace, {"metadata": {"name": "hidden"}, "stringData": {"key": "s3cret"}}
    )
    pods.create(
        "env",
        container(
            args=["--linger", "0", "$(GREETING)", "$$(GREETING)", "$(UNKNOWN)"],
            env=[
                {"name": "WHO", "value": "world"},
                {"name": "GREETING", "value": "hello $(WHO)"},
                from_field("NAME", "metadata.name"),
                from_field("NODE", "spec.nodeName"),
                from_field("ACCOUNT", "spec.serviceAccountName"),
                from_field("ROLE", "metadata.labels['pdscale.io/role']"),
                {
                    "name": "PASSWORD",
                    "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "key"}},
                },
            ],
            envFrom=[{"prefix": "CFG_", "configMapRef": {"name": "settings"}}],
            workingDir="/usr",
            resources={"limits": {GPU: "2"}},
        ),
        labels={"pdscale.io/role": "decode"},
    )
    url = pods.started("env")
    environment = found(url, "env")
    expected = {
        "POD_IP": pods.read("env").status.pod_ip,
        "GREETING": "hello world",
        "NAME": "env",
        "HOSTNAME": "env",
        "NODE": "agent-worker",
        "ACCOUNT": "default",
        "ROLE": "decode",
        "PASSWORD": "s3cret",
        "CFG_MODE": "fast",
    }
    assert {name: environment[name] for name in expected} == expected
    assert found(url, "args")[2:] == ["hello world", "$(GREETING)", "$(UNKNOWN)"]
    assert len(environment["NVIDIA_VISIBLE_DEVICES"].split(",")) == 2
    # The agent has all of our variables, and this one above all.
    assert MARK in os.environ
    assert MARK not in environment


def test_gpus_of_a_node_go_to_one_container_each(pods: Pods) -> None:
    for name in ("one", "two"):
        pods.create(name, container(resources={"limits": {GPU: "2"}}))
    devices = [found(pods.started(n), "env")["NVIDIA_VISIBLE_DEVICES"] for n in ("one", "two")]
    assert sorted(",".join(devices).split(",")) == ["0", "1", "2", "3"]


def test_a_pod_s_token_opens_the_api_to_its_service_account_only(pods: Pods) -> None:
    script = """
import json, os, ssl, urllib.request, urllib.error
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
tls = ssl.create_default_context(cafile=f"{folder}/ca.crt")
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
namespace = open(f"{folder}/namespace").read()
for path in (f"/api/v1/namespaces/{namespace}/pods", "/api/v1/nodes"):
    request = urllib.request.Request(f"https://{host}:{port}{path}")
    request.add_header("Authorization", "Bearer " + open(f"{folder}/token").read())
    try:
        print(1, urllib.request.urlopen(request, context=tls).status, flush=True)
    except urllib.error.HTTPError as error:
        print(2, error.code, flush=True)
"""
    rights = client.RbacAuthorizationV1Api(pods.api)
    rights.create_namespaced_role(
        pods.namespace,
        {
            "metadata": {"name": "reader"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
        },
    )
    rights.create_namespaced_role_binding(
        pods.namespace,
        {
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": pods.namespace}],
        },
    )
    asker = {"name": "main", "image": "none", "command": ["python", "-c", script]}
    pods.create("asker", asker, restartPolicy="Never")
    eventually(lambda: pods.read("asker").status.phase == "Succeeded", within=20, what="the script to end")
    assert list(pods.written("asker")) == ["200", "403"]


def test_readiness_follows_its_probe(pods: Pods) -> None:
    pods.create("moody", container())
    url = pods.started("moody")
    ask("PUT", f"{url}/ready?503")
    eventually(lambda: not pods.is_ready("moody"), within=10, what="the pod to be unready")
    ask("PUT", f"{url}/ready?200")
    eventually(lambda: pods.is_ready("moody"), within=10, what="the pod to be ready again")
    assert pods.status("moody").restart_count == 0


def test_a_failed_liveness_probe_restarts_the_container(pods: Pods) -> None:
    liveness = {**PROBE, "httpGet": {"path": "/live", "port": "web"}}
    startup = {**PROBE, "failureThreshold": 20, "tcpSocket": {"port": "web"}}
    ports = [{"name": "web", "containerPort": 8000}]
    pods.create("sick", container(livenessProbe=liveness, startupProbe=startup, ports=ports))
    ask("PUT", f"{pods.started('sick')}/live?500")
    eventually(lambda: pods.status("sick").restart_count == 1, within=10, what="a restart")
    pods.started("sick")
    assert "got signal 15" in pods.written("sick", run=0)


def test_a_crash_is_counted_and_the_container_comes_back(pods: Pods) -> None:
    pods.create("fragile", container())
    uid = pods.read("fragile").metadata.uid
    ask("PUT", f"{pods.started('fragile')}/exit?3")
    eventually(lambda: pods.status("fragile").restart_count == 1, within=10, what="a restart")
    pods.started("fragile")
    assert pods.status("fragile").last_state.terminated.exit_code == 3
    assert pods.read("fragile").metadata.uid == uid


def test_a_container_that_keeps_crashing_says_so(pods: Pods) -> None:
    pods.create("broken", {"name": "main", "image": "none", "command": ["sh", "-c", "exit 7"]})

    def backing_off() -> bool:
        waiting = pods.status("broken").state.waiting
        return waiting is not None and waiting.reason == "CrashLoopBackOff"

    eventually(backing_off, within=10, what="CrashLoopBackOff")
    assert pods.status("broken").last_state.terminated.exit_code == 7


@pytest.mark.parametrize(
    ("fields", "reason", "message"),
    [
        pytest.param({"image": "vllm:1"}, "ErrImagePull", "'vllm:1'", id="no command"),
        pytest.param(
            {"command": ["true"], "envFrom": [{"configMapRef": {"name": "absent"}}]},
            "CreateContainerConfigError",
            "'absent' not found",
            id="missing ConfigMap",
        ),
    ],
)
def test_a_container_that_cannot_start_says_why(
    pods: Pods, fields: Mapping[str, Any], reason: str, message: str
) -> None:
    pods.create("stuck", {"name": "main", "image": "none", **fields})

    def waiting() -> client.V1ContainerStateWaiting | None:
        state = pods.status("stuck").state.waiting
        return state if state is not None and state.reason == reason else None

    assert message in eventually(waiting, within=10, what=reason).message


def test_an_unknown_command_is_a_start_error(pods: Pods) -> None:
    pods.create(
        "typo",
        {"name": "main", "image": "none", "command": ["no-such-program"]},
        restartPolicy="Never",
    )
    eventually(lambda: pods.read("typo").status.phase == "Failed", within=10, what="the failure")
    ended = pods.status("typo").state.terminated
    assert (ended.reason, "no-such-program" in ended.message) == ("StartError", True)


def test_the_end_is_pre_stop_then_sigterm_then_time_to_finish(pods: Pods) -> None:
    lifecycle = {"preStop": {"sleep": {"seconds": 1}}}
    pods.create("polite", container(args=["--linger", "0.7"], lifecycle=lifecycle))
    pods.started("polite")
    asked = time.monotonic()
    pods.delete("polite", grace=10)
    eventually(lambda: pods.gone("polite"), within=15, what="the pod to be gone")
    wrote = pods.written("polite")
    assert wrote["got signal 15"] - asked >= 1
    assert wrote["ends"] - wrote["got signal 15"] >= 0.7


def test_who_does_not_end_in_time_is_killed(pods: Pods) -> None:
    pods.create("stubborn", container(args=["--linger", "60"]))
    pods.started("stubborn")
    pods.delete("stubborn", grace=2)
    eventually(lambda: pods.gone("stubborn"), within=6, what="the pod to be gone")
    wrote = pods.written("stubborn")
    assert "got signal 15" in wrote
    assert "ends" not in wrote


def test_a_terminating_pod_leaves_its_endpoints_at_once(pods: Pods) -> None:
    pods.core.create_namespaced_service(
        pods.namespace,
        {"metadata": {"name": "s"}, "spec": {"selector": {"app": "s"}, "ports": [{"port": 8000}]}},
    )
    pods.create("leaving", container(args=["--linger", "3"]), labels={"app": "s"})
    pods.started("leaving")
    eventually(lambda: ready_endpoints(pods, "s") == 1, within=10, what="the endpoint")
    pods.delete("leaving", grace=10)
    eventually(lambda: ready_endpoints(pods, "s") == 0, within=2, what="the endpoint to go")
    assert not pods.gone("leaving")


def ready_endpoints(pods: Pods, service: str) -> int:
    slices = client.DiscoveryV1Api(pods.api).list_namespaced_endpoint_slice(
        pods.namespace, label_selector=f"kubernetes.io/service-name={service}"
    )
    return sum(bool(e.conditions.ready) for each in slices.items for e in each.endpoints or ())


def test_a_native_sidecar_starts_before_and_ends_after_the_main_container(pods: Pods) -> None:
    startup = {**PROBE, "failureThreshold": 20, "httpGet": {"path": "/live", "port": 8001}}
    sidecar = container(
        "side",
        args=["--port", "8001"],
        restartPolicy="Always",
        startupProbe=startup,
        readinessProbe={**PROBE, "httpGet": {"path": "/ready", "port": 8001}},
        lifecycle={"preStop": {"exec": {"command": ["touch", "/shared/side-was-told"]}}},
        volumeMounts=[{"name": "shared", "mountPath": "/shared"}],
    )
    first = {"name": "first", "image": "none", "command": ["touch", "/shared/first"]}
    first["volumeMounts"] = [{"name": "shared", "mountPath": "/shared"}]
    main = container(args=["--linger", "0.5"], volumeMounts=[{"name": "shared", "mountPath": "/shared"}])
    pods.create(
        "pair",
        main,
        initContainers=[first, sidecar],
        volumes=[{"name": "shared", "emptyDir": {}}],
    )
    url = pods.started("pair")
    ask("GET", f"{url}/file?/shared/first")
    statuses = pods.read("pair").status.init_container_statuses
    assert [s.state.terminated is not None for s in statuses] == [True, False]
    assert [s.ready for s in statuses] == [True, True]

    pods.delete("pair", grace=10)
    told = eventually(
        lambda: ask("GET", f"{url}/file?/shared/side-was-told") == b"",
        within=2,
        what="the sidecar's preStop hook, which runs before the main container is gone",
        every=0.02,
    )
    assert told
    eventually(lambda: pods.gone("pair"), within=10, what="the pod to be gone")
    main_wrote, side_wrote = pods.written("pair"), pods.written("pair", "side")
    assert side_wrote["listens"] < main_wrote["starts"]
    assert main_wrote["ends"] < side_wrote["got signal 15"]


def test_downward_files_follow_the_labels_of_a_running_pod(pods: Pods) -> None:
    items = [{"path": "role", "fieldRef": {"fieldPath": "metadata.labels['pdscale.io/role']"}}]
    pods.create(
        "labelled",
        container(volumeMounts=[{"name": "me", "mountPath": "/etc/me"}]),
        volumes=[{"name": "me", "downwardAPI": {"items": items}}],
        labels={"pdscale.io/role": "prefill"},
    )
    url = pods.started("labelled")
    assert ask("GET", f"{url}/file?/etc/me/role") == b"prefill"
    change = {"metadata": {"labels": {"pdscale.io/role": "decode"}}}
    pods.core.patch_namespaced_pod("labelled", pods.namespace, change)
    eventually(
        lambda: ask("GET", f"{url}/file?/etc/me/role") == b"decode",
        within=5,
        what="the file to follow the label",
    )


def test_config_and_secret_volumes_appear_where_nothing_was(pods: Pods) -> None:
    pods.core.create_namespaced_config_map(
        pods.namespace, {"metadata": {"name": "files"}, "data": {"a.yaml": "a: 1", "b": "2"}}
    )
    mounts = [
        {"name": "files", "mountPath": "/made-up/deep/down"},
        {"name": "files", "mountPath": "/etc/only-one.yaml", "subPath": "a.yaml"},
        {"name": "empty", "mountPath": "/made-up/deep/down/scratch"},
    ]
    pods.create(
        "mounted",
        container(volumeMounts=mounts),
        volumes=[{"name": "files", "configMap": {"name": "files"}}, {"name": "empty", "emptyDir": {}}],
    )
    url = pods.started("mounted")
    assert ask("GET", f"{url}/file?/made-up/deep/down/a.yaml") == b"a: 1"
    assert ask("GET", f"{url}/file?/etc/only-one.yaml") == b"a: 1"
    assert ask("GET", f"{url}/file?/etc/hostname")
    with pytest.raises(Unsuccessful, match="Is a directory"):
        ask("GET", f"{url}/file?/made-up/deep/down/scratch")
    assert not os.path.exists("/made-up")


def test_a_pod_changes_its_role_by_its_labels_and_keeps_its_process(pods: Pods) -> None:
    apps = client.AppsV1Api(pods.api)
    for role in ("prefill", "decode"):
        apps.create_namespaced_deployment(pods.namespace, pool(role))
    eventually(lambda: sizes(pods) == {"prefill": 1, "decode": 1}, within=20, what="both pools")
    pod = pods_of(pods, "prefill")[0]
    before = found(f"http://{pod.status.pod_ip}:8000", "pid")

    scale(pods, "decode", 2)
    receiving = hash_of(pods, "decode")
    labels = {"role": "decode", "pod-template-hash": receiving}
    pods.core.patch_namespaced_pod(pod.metadata.name, pods.namespace, {"metadata": {"labels": labels}})
    scale(pods, "prefill", 0)

    eventually(lambda: sizes(pods) == {"prefill": 0, "decode": 2}, within=20, what="the new sizes")
    same = pods.read(pod.metadata.name)
    assert same.metadata.uid == pod.metadata.uid
    assert same.metadata.owner_references[0].name.startswith("decode-")
    assert found(f"http://{same.status.pod_ip}:8000", "pid") == before


def pool(role: str) -> dict[str, Any]:
    labels = {"app": "flip", "role": role}
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": "agent-worker"},
        "tolerations": [{"key": GPU, "operator": "Exists"}],
        "terminationGracePeriodSeconds": 2,
        # Both GPUs of each pod: none is free for the pods that the recipe makes in passing.
        "containers": [container(resources={"limits": {GPU: "2"}})],
    }
    return {
        "metadata": {"name": role},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def pods_of(pods: Pods, role: str) -> list[client.V1Pod]:
    selector = f"app=flip,role={role}"
    return list(pods.core.list_namespaced_pod(pods.namespace, label_selector=selector).items)


def sizes(pods: Pods) -> dict[str, int]:
    """Pods of each pool; a pool with one that is not ready has not settled."""
    found = {role: pods_of(pods, role) for role in ("prefill", "decode")}
    settled = all(pods.is_ready(pod.metadata.name) for each in found.values() for pod in each)
    return {role: len(each) if settled else -1 for role, each in found.items()}


def scale(pods: Pods, role: str, replicas: int) -> None:
    client.AppsV1Api(pods.api).patch_namespaced_deployment_scale(
        role, pods.namespace, {"spec": {"replicas": replicas}}
    )


def hash_of(pods: Pods, role: str) -> str:
    sets = client.AppsV1Api(pods.api).list_namespaced_replica_set(
        pods.namespace, label_selector=f"role={role}"
    )
    return str(sets.items[0].metadata.labels["pod-template-hash"])


def test_an_agent_that_was_killed_takes_up_its_pods(
    api: client.ApiClient, namespace: str, gpu_nodes: Callable[..., Nodes]
) -> None:
    silent = gpu_nodes(2, gpus=8)
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    template = {
        "metadata": {"labels": {"app": "lasting"}},
        "spec": {
            "nodeSelector": {"e2e": namespace},
            "tolerations": [{"key": GPU, "operator": "Exists"}],
            "containers": [{"name": "main", "image": "none"}],
        },
    }
    apps.create_namespaced_deployment(
        namespace,
        {
            "metadata": {"name": "lasting"},
            "spec": {
                "replicas": 6,
                "selector": {"matchLabels": {"app": "lasting"}},
                "template": template,
            },
        },
    )

    def ready() -> dict[str, str]:
        pods = core.list_namespaced_pod(namespace).items
        return {p.metadata.uid: p.status.pod_ip for p in pods if is_ready(p)}

    eventually(lambda: len(ready()) == 6, within=15, what="6 ready pods")
    before = ready()
    os.kill(silent.pid, signal.SIGKILL)
    silent.kill()
    apps.patch_namespaced_deployment_scale("lasting", namespace, {"spec": {"replicas": 9}})
    silent.start()
    eventually(lambda: len(ready()) == 9, within=15, what="9 ready pods after the restart")
    after = ready()
    assert before.items() <= after.items()
    assert len(set(after.values())) == 9


def test_processes_of_a_killed_agent_die_with_it_and_are_started_again(pods: Pods, worker: Nodes) -> None:
    pods.create("phoenix", container())
    first = found(pods.started("phoenix"), "pid")
    worker.kill()
    eventually(lambda: not os.path.exists(f"/proc/{first}"), within=5, what="the process to die")
    worker.start()
    eventually(lambda: pods.status("phoenix").restart_count == 1, within=10, what="a restart")
    url = pods.started("phoenix")
    assert found(url, "pid") != first
