"""A cluster of containers by kind: real kubelets, images, DNS, and mock GPUs from a device plugin.

One control plane, whose taint is taken off so that the operator and the routers have a node, and two
workers with 8 mock GPUs each. Pods and Services are reached from the host by routes through the node
containers, so a test uses the addresses that it uses on the local cluster; setting routes needs root.

Plain kind with Docker or podman. ``KIND_NODE_IMAGE`` and ``KIND_EXPERIMENTAL_PROVIDER`` are honoured as
kind means them, ``PYTHON_BASE_IMAGE`` as the images' base, and ``KEEP=1`` leaves the cluster there and
uses it again.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pdscale_e2e import containers, images, wheels
from pdscale_e2e import kubeconfig as kubeconfigs
from pdscale_e2e.cluster.added import AddedNodes
from pdscale_e2e.cluster.interface import Capability, ClusterUnavailable
from pdscale_e2e.containers import ImagesUnavailable
from pdscale_e2e.gpu_plugin import manifest as gpu_plugin
from pdscale_e2e.nodes.spec import GPU, Mode, NodeSpec
from pdscale_e2e.waiting import eventually

NAME: Final = "pdscale-e2e"
GPUS: Final = 8
_SERVICES: Final = "10.96.0.0/16"  # kind's own default
_ARCHIVES: Final = wheels.ROOT / "build" / "images" / "archives"  # kept: unchanged images are not saved again
# Which nodes need an image: only engines and the device plugin tolerate the workers' taint.
_ON_WORKERS: Final = ("router", "gpu-plugin")
_ON_CONTROL_PLANE: Final = ("operator", "router", "e2e", "prometheus")
_CONFIG: Final[Mapping[str, Any]] = {
    "kind": "Cluster",
    "apiVersion": "kind.x-k8s.io/v1alpha4",
    "nodes": [{"role": "control-plane"}, {"role": "worker"}, {"role": "worker"}],
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
        self._folder = Path(tempfile.mkdtemp(prefix="pdscale-kind-"))
        kept = environ.get("PDSCALE_E2E_LOGS")
        self.logs = Path(kept).resolve() if kept else self._folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = self._folder / "kubeconfig"
        self._added: list[AddedNodes] = []
        self._routes: list[str] = []
        self._images: Mapping[str, images.Image] = {}

    def start(self) -> "KindCluster":
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
        return _run("kind", "get", "nodes", "--name", NAME).split()

    @property
    def workers(self) -> list[str]:
        return [node for node in self.nodes if "worker" in node]

    def image(self, name: str) -> str:
        return self._images[name].reference

    def add_nodes(self, specs: Sequence[NodeSpec]) -> AddedNodes:
        """Fake nodes beside the real ones; those that run processes are the workers' business here."""
        fakes = [spec for spec in specs if spec.mode is Mode.STATUS]
        added = AddedNodes(
            fakes,
            access=self._access,
            kubeconfig=self.kubeconfig,
            folder=self._folder,
            logs=self.logs,
        )
        self._added.append(added)
        added.start()
        return added

    def stop_apiserver(self) -> None:
        """Take its static pod away from the kubelet, and wait until it is gone."""
        self.inside(self._control_plane, "mv", f"/etc/kubernetes/manifests/{_APISERVER}", "/kind/")
        eventually(lambda: not self._answers(), within=60, what="the API server to end", every=0.5)

    def start_apiserver(self) -> None:
        self.inside(self._control_plane, "mv", f"/kind/{_APISERVER}", "/etc/kubernetes/manifests/")
        eventually(self._answers, within=120, what="the API server", every=0.5)

    def inside(self, node: str, *command: str) -> str:
        """Run a command in a node container."""
        return _run(self._engine, "exec", node, *command)

    def stop_node(self, node: str) -> None:
        """Power off."""
        _run(self._engine, "stop", "--time", "1", node)

    def start_node(self, node: str) -> None:
        """Power on. It may come back at another address, which not every node image tells its kubelet."""
        before = self._known_address(node)
        _run(self._engine, "start", node)
        now = self._address(node)
        if now != before:
            eventually(
                lambda: self._readdressed(node, before, now), within=60, what=f"{node} is at {now}", every=1
            )
        self._route()

    def _readdressed(self, node: str, before: str, now: str) -> bool:
        if self._known_address(node) == now:
            return True
        flags = "/var/lib/kubelet/kubeadm-flags.env"
        change = f"grep -q {before} {flags} && sed -i s/{before}/{now}/g {flags} && systemctl restart kubelet"
        try:
            self.inside(node, "sh", "-c", change)
        except subprocess.CalledProcessError:
            pass  # already changed, or the node is not that far yet
        return False

    def _known_address(self, node: str) -> str:
        """By the API server."""
        addresses = json.loads(self._access.get(f"/api/v1/nodes/{node}"))["status"]["addresses"]
        return str(next(a["address"] for a in addresses if a["type"] == "InternalIP"))

    def stop(self) -> None:
        for added in self._added:
            if self._keep:
                added.stop()
            else:
                added.end_agent()
        for route in self._routes:
            subprocess.run(["ip", "route", "del", route], check=False, capture_output=True)
        if not self._keep:
            subprocess.run(["kind", "delete", "cluster", "--name", NAME], check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        self._images = images.build(sorted({*_ON_WORKERS, *_ON_CONTROL_PLANE}), save=_ARCHIVES)
        there = NAME in _run("kind", "get", "clusters").split()
        if there and not self._keep:
            raise ClusterUnavailable(
                f"a kind cluster named {NAME} exists: set KEEP=1 to use it, or delete it with "
                f"kind delete cluster --name {NAME}"
            )
        if there:
            _run("kind", "export", "kubeconfig", "--name", NAME, "--kubeconfig", str(self.kubeconfig))
        else:
            self._create()
        self._access = kubeconfigs.read(self.kubeconfig)
        self._load(_ON_CONTROL_PLANE, [self._control_plane])
        self._load(_ON_WORKERS, self.workers)
        self._route()
        self._prepare_nodes()

    def _create(self) -> None:
        config = self._folder / "kind.json"
        config.write_text(json.dumps(_CONFIG))
        image = ("--image", self._node_image) if self._node_image else ()
        place = ("--name", NAME, "--kubeconfig", str(self.kubeconfig))
        _run("kind", "create", "cluster", *place, "--config", str(config), *image, "--wait", "120s")

    def _load(self, names: Sequence[str], nodes: Sequence[str]) -> None:
        for name in names:
            archive = str(self._images[name].archive)
            _run("kind", "load", "image-archive", archive, "--name", NAME, "--nodes", ",".join(nodes))

    def _prepare_nodes(self) -> None:
        self._kubectl(
            "taint", "nodes", self._control_plane, "node-role.kubernetes.io/control-plane-", check=False
        )
        for worker in self.workers:
            labels = {**gpu_plugin.labels(gpus=GPUS), "pdscale.io/nodes": "process"}
            pairs = [f"{key}={value}" for key, value in labels.items()]
            self._kubectl("label", "--overwrite", "node", worker, *pairs)
            self._kubectl("taint", "--overwrite", "node", worker, f"{GPU}=present:NoSchedule")
        plugin = gpu_plugin.daemonset(
            self.image("gpu-plugin"), gpus=GPUS, selector={"pdscale.io/nodes": "process"}
        )
        self._kubectl(
            "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": plugin})
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

    def _route(self) -> None:
        """Pods through their node, Services through the control plane's kube-proxy."""
        for route in self._routes:
            subprocess.run(["ip", "route", "del", route], check=False, capture_output=True)
        self._routes = []
        for node in json.loads(self._access.get("/api/v1/nodes"))["items"]:
            name, pods = node["metadata"]["name"], node["spec"].get("podCIDR")
            if name not in self.nodes or not pods:
                continue
            ranges = [pods, _SERVICES] if name == self._control_plane else [pods]
            address = self._address(name)
            for each in ranges:
                _run("ip", "route", "replace", each, "via", address)
                self._routes.append(each)

    def _address(self, node: str) -> str:
        """By the engine: a container that was started again has a new one before its kubelet says so."""
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
        return _run(self._engine, "inspect", "--format", template, node).split()[0]

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


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
