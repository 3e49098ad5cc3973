"""A cluster of containers by kind: real kubelets, images, DNS, and mock GPUs from a device plugin.

One control plane, whose taint is taken off so that the operator and the routers have a node, and two
workers with 8 mock GPUs each. Pods and Services are reached from the host by routes through the node
containers, so a test uses the addresses that it uses on the local cluster; setting routes needs root.

Plain kind with Docker or podman. ``KIND_NODE_IMAGE`` and ``KIND_EXPERIMENTAL_PROVIDER`` are honoured as
kind means them, ``PYTHON_BASE_IMAGE`` as the images' base, and ``KEEP=1`` leaves the cluster there and
uses it again. Several processes can use one cluster: the others ``join`` what one has made.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from kubernetes import client

from pdscale_e2e import containers, images, leftovers, wheels
from pdscale_e2e import kubeconfig as kubeconfigs
from pdscale_e2e.cluster.added import AddedNodes, FakeNodes
from pdscale_e2e.cluster.interface import Capability, ClusterUnavailable
from pdscale_e2e.cluster.node_containers import NodeContainers, run
from pdscale_e2e.cluster.standing import Standing
from pdscale_e2e.containers import ImagesUnavailable
from pdscale_e2e.gpu_plugin import manifest as gpu_plugin
from pdscale_e2e.install import api_client
from pdscale_e2e.nodes.spec import GPU, Mode, NodeSpec
from pdscale_e2e.waiting import eventually

NAME: Final = "pdscale-e2e"
GPUS: Final = 8
_KEPT: Final = wheels.ROOT / "build" / "images" / "archives"  # kept: unchanged images are not saved again
# Which nodes need an image: only engines and the device plugin tolerate the workers' taint.
WORKERS_IMAGES: Final = ("router", "gpu-plugin")
CONTROL_PLANE_IMAGES: Final = ("operator", "router", "e2e", "prometheus")
# By default a kubelet reports a change of its GPUs only after ten seconds, and a silent node counts as there
# for fifty. Controllers that must be elected end when the API server is away, and wait 15 s for the lease of
# their own dead selves; there is one of each here.
_KUBELET: Final[Mapping[str, Any]] = {
    "kind": "KubeletConfiguration",
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "nodeStatusUpdateFrequency": "1s",
    "nodeStatusReportFrequency": "1m",  # of what has not changed; else it is sent as often
}
_UNELECTED: Final = {"name": "leader-elect", "value": "false"}
_CONTROL_PLANE: Final[Mapping[str, Any]] = {
    "kind": "ClusterConfiguration",
    "controllerManager": {"extraArgs": [{"name": "node-monitor-grace-period", "value": "20s"}, _UNELECTED]},
    "scheduler": {"extraArgs": [_UNELECTED]},
}
_CONFIG: Final[Mapping[str, Any]] = {
    "kind": "Cluster",
    "apiVersion": "kind.x-k8s.io/v1alpha4",
    "nodes": [{"role": "control-plane"}, {"role": "worker"}, {"role": "worker"}],
    "kubeadmConfigPatches": [json.dumps(_KUBELET), json.dumps(_CONTROL_PLANE)],
}
_APISERVER: Final = "kube-apiserver.yaml"


class KindCluster:
    """Three node containers. Whatever was started goes with ``stop``, unless ``KEEP=1``."""

    capabilities = frozenset(
        {
            Capability.STATUS_NODES,
            Capability.SERVICES,
            Capability.RUNNING_PODS,
            Capability.CONTAINERS,
            Capability.FAULTS,
        }
    )

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._engine = _engine(environ)
        self._node_image = environ.get("KIND_NODE_IMAGE")
        self._keep = environ.get("KEEP") == "1"
        self._made = self._joined = False
        self._folder = Path(tempfile.mkdtemp(prefix="pdscale-kind-"))
        kept = environ.get("PDSCALE_E2E_LOGS")
        self.logs = Path(kept).resolve() if kept else self._folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = self._folder / "kubeconfig"
        self._fakes: FakeNodes | None = None
        self._images: Mapping[str, str] = {}
        self._node_containers: NodeContainers | None = None
        self._watch: leftovers.Watch | None = None
        self._beside = ThreadPoolExecutor()
        self._workers_prepared: Future[None] | None = None

    def join(self, there: Standing) -> "KindCluster":
        """Use what another process has made; ``stop`` then takes away what was added here."""
        self.kubeconfig, self.logs, self._images = there.kubeconfig, there.logs, there.images
        self.capabilities |= {Capability.PRODUCT}
        self._joined = True
        self._reach()
        return self

    @property
    def standing(self) -> Standing:
        """What another process must know to join."""
        return Standing(self.kubeconfig, self.logs, self._images)

    def start(self) -> "KindCluster":
        self._watch = leftovers.Watch.begin(self._engine, NAME)
        try:
            self._start()
        except subprocess.CalledProcessError as error:
            self.stop()
            said = (error.stderr or error.stdout or "").strip()[-1500:]
            raise ClusterUnavailable(f"{' '.join(error.cmd)} failed: {said}") from error
        except ImagesUnavailable as error:
            self.stop()
            raise ClusterUnavailable(str(error)) from error
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def nodes(self) -> list[str]:
        """Names of the node containers, which are the nodes' names."""
        return run("kind", "get", "nodes", "--name", NAME).split()

    @property
    def workers(self) -> list[str]:
        return [node for node in self.nodes if "worker" in node]

    def settle(self) -> None:
        """The workers take images and GPUs while the control plane is in use already."""
        if self._workers_prepared is not None:
            self._workers_prepared.result()

    def image(self, name: str) -> str:
        return self._images[name]

    def add_nodes(self, specs: Sequence[NodeSpec]) -> AddedNodes:
        """Fake nodes beside the real ones; those that run processes are the workers' business here."""
        if self._fakes is None:
            self._fakes = FakeNodes(
                self._access, kubeconfig=self.kubeconfig, folder=self._folder, logs=self.logs
            )
        return self._fakes.add([spec for spec in specs if spec.mode is Mode.STATUS])

    def stop_apiserver(self) -> None:
        """Take its static pod away from the kubelet, and wait until it is gone."""
        self.inside(self._control_plane, "mv", f"/etc/kubernetes/manifests/{_APISERVER}", "/kind/")
        eventually(lambda: not self._answers(), within=60, what="the API server to end", every=0.5)

    def start_apiserver(self) -> None:
        self.inside(self._control_plane, "mv", f"/kind/{_APISERVER}", "/etc/kubernetes/manifests/")
        eventually(self._answers, within=120, what="the API server", every=0.5)

    def inside(self, node: str, *command: str) -> str:
        """Run a command in a node container."""
        return self._containers.inside(node, *command)

    def stop_node(self, node: str) -> None:
        """Power off."""
        self._containers.stop(node)

    def start_node(self, node: str) -> None:
        """Power on; pods can be reached again, at whatever address the node has now."""
        self._containers.start(node)
        self._containers.route()

    def stop(self) -> None:
        self._beside.shutdown(cancel_futures=True)
        if self._fakes is not None:
            if self._keep or self._joined:
                self._fakes.stop()
            else:
                self._fakes.end_agents()
        if self._node_containers is not None and not self._joined:
            self._node_containers.unroute()
        if self._made and not self._keep:
            self._delete()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._watch is not None and not self._keep:
            self._watch.end()

    def _delete(self) -> None:
        if self._node_containers is not None:
            self._node_containers.kill()
        subprocess.run(["kind", "delete", "cluster", "--name", NAME], check=False, capture_output=True)
        if self._watch is not None and "kind" not in self._watch.before["network"]:  # kind itself leaves it
            subprocess.run([self._engine, "network", "rm", "kind"], check=False, capture_output=True)

    def _start(self) -> None:
        there = NAME in run("kind", "get", "clusters").split()
        if there and not self._keep:
            raise ClusterUnavailable(
                f"a kind cluster named {NAME} exists: set KEEP=1 to use it, or delete it with "
                f"kind delete cluster --name {NAME}"
            )
        building = self._beside.submit(_archives)
        if there:
            run("kind", "export", "kubeconfig", "--name", NAME, "--kubeconfig", str(self.kubeconfig))
        else:
            self._create()
        self._images, for_control_plane, for_workers = building.result()
        self._reach()
        self._containers.route()
        self._workers_prepared = self._beside.submit(self._prepare_workers, for_workers)
        self._kubectl(
            "taint", "nodes", self._control_plane, "node-role.kubernetes.io/control-plane-", check=False
        )
        self._load(for_control_plane, [self._control_plane])

    def _reach(self) -> None:
        self._access = kubeconfigs.read(self.kubeconfig)
        self._node_containers = NodeContainers(self._engine, NAME, self._access)

    def _create(self) -> None:
        self._made = True
        config = self._folder / "kind.json"
        config.write_text(json.dumps(_CONFIG))
        image = ("--image", self._node_image) if self._node_image else ()
        place = ("--name", NAME, "--kubeconfig", str(self.kubeconfig))
        # Nodes become ready while they take images.
        run("kind", "create", "cluster", *place, "--config", str(config), *image)

    def _load(self, archive: Path, nodes: Sequence[str]) -> None:
        run("kind", "load", "image-archive", str(archive), "--name", NAME, "--nodes", ",".join(nodes))

    def _prepare_workers(self, archive: Path) -> None:
        self._load(archive, self.workers)
        for worker in self.workers:
            self._kubectl("label", "--overwrite", "node", worker, "pdscale.io/nodes=process")
            with api_client(self.kubeconfig) as api:
                gpu_plugin.label_and_taint(client.CoreV1Api(api), worker, gpus=GPUS)
        plugin = gpu_plugin.daemonset(
            self.image("gpu-plugin"), gpus=GPUS, selector={"pdscale.io/nodes": "process"}
        )
        self._kubectl(
            "apply",
            "--server-side",
            "-f",
            "-",
            text=json.dumps({"apiVersion": "v1", "kind": "List", "items": plugin}),
        )
        eventually(
            lambda: all(self._gpus(worker) == GPUS for worker in self.workers),
            within=120,
            what=f"{GPUS} mock GPUs on each worker",
            every=0.5,
        )

    def _gpus(self, node: str) -> int:
        found = json.loads(self._access.get(f"/api/v1/nodes/{node}"))
        return int(found["status"]["allocatable"].get(GPU, 0))

    @property
    def _containers(self) -> NodeContainers:
        if self._node_containers is None:
            raise RuntimeError("the cluster has not started")
        return self._node_containers

    @property
    def _control_plane(self) -> str:
        return f"{NAME}-control-plane"

    def _answers(self) -> bool:
        try:
            return bool(self._access.get("/readyz"))
        except OSError:
            return False

    def _kubectl(self, *arguments: str, text: str | None = None, check: bool = True) -> None:
        """kubectl as it lies in the node: its version fits, and the host needs none."""
        command = [self._engine, "exec", *(["-i"] if text else []), self._control_plane]
        command += ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *arguments]
        subprocess.run(command, check=check, capture_output=True, text=True, input=text)


def _archives() -> tuple[Mapping[str, str], Path, Path]:
    """What pods call the images; all that the control plane needs in one archive, and all that workers do."""
    made = images.build(sorted({*WORKERS_IMAGES, *CONTROL_PLANE_IMAGES}))
    for_control_plane = images.bundle(made, CONTROL_PLANE_IMAGES, _KEPT / "control-plane.tar")
    for_workers = images.bundle(made, WORKERS_IMAGES, _KEPT / "workers.tar")
    return {name: image.reference for name, image in made.items()}, for_control_plane, for_workers


def _engine(environ: Mapping[str, str]) -> str:
    """The container engine's command; raises with what to do where the tier cannot run."""
    if os.geteuid() != 0:
        raise ClusterUnavailable("the kind tier sets routes to pods and needs root; run it as root")
    for program, remedy in (("kind", "go install sigs.k8s.io/kind@v0.32.0"), ("ip", "install iproute2")):
        if shutil.which(program) is None:
            raise ClusterUnavailable(f"{program} is not on the PATH: {remedy}")
    try:
        return containers.find(environ).command
    except ImagesUnavailable as error:
        raise ClusterUnavailable(str(error)) from error
