"""A whole control plane as plain processes, for use inside ``pdscale_e2e.namespace``.

It is the real one: scheduling, garbage collection, CEL, RBAC, EndpointSlices and Services behave as
anywhere. Pods run on nodes of the node agent. Ports are fixed, because the namespace is all ours.
"""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pdscale_e2e import kubeconfig as kubeconfigs
from pdscale_e2e.asking import ask
from pdscale_e2e.binaries import MissingTool, program
from pdscale_e2e.cluster import audit
from pdscale_e2e.cluster.added import AddedNodes
from pdscale_e2e.cluster.interface import Capability, ClusterUnavailable
from pdscale_e2e.cluster.pki import Authority, Pair, signing_key
from pdscale_e2e.component import Component, stop_all
from pdscale_e2e.namespace import SERVICE_RANGE, inside_namespace
from pdscale_e2e.nodes.spec import NodeSpec
from pdscale_e2e.waiting import eventually

_ADDRESS: Final = "10.89.0.1"
_SERVER: Final = f"https://{_ADDRESS}:6443"
_PROXY_HEALTH: Final = "127.0.0.1:10256"
_SERVICE: Final = "10.96.0.1"
# The upper half of 10.89.0.0/16, in pieces of 254 addresses 128 nodes. The lower half is ours.
_NODES_RANGE: Final = "10.89.128.0/17"
_NAMES: Final = (
    *("DNS:kubernetes", "DNS:kubernetes.default", "DNS:kubernetes.default.svc", "DNS:localhost"),
    *("DNS:kubernetes.default.svc.cluster.local", "IP:127.0.0.1"),
    *(f"IP:{_ADDRESS}", f"IP:{_SERVICE}"),
)
_CONTROL_PLANE_ROLE: Final = "node-role.kubernetes.io/control-plane"
# kube-proxy wants to see its own node before it starts, and ends when that node goes.
_CONTROL_PLANE: Final = NodeSpec(
    "control-plane",
    labels={_CONTROL_PLANE_ROLE: ""},
    taints=({"key": _CONTROL_PLANE_ROLE, "effect": "NoSchedule"},),
)


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """``node_silence`` is how long a node may say nothing before it counts as lost (seconds).

    ``node_prefix`` is the length of a node's range of pod addresses: 27 for up to 1024 nodes of 29 pods.
    ``audited`` is a user whose writes are listed in ``audit.log``, a JSON object a line.
    """

    node_silence: int = 40
    node_prefix: int = 24
    audited: str | None = None


class LocalCluster:
    """etcd, API server, controller manager, scheduler, and kube-proxy where iptables exists."""

    def __init__(
        self,
        options: LocalOptions = LocalOptions(),
        *,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        if not inside_namespace():
            raise ClusterUnavailable(
                "the local cluster runs inside a namespace of its own: put "
                "`python -m pdscale_e2e.namespace` in front of the command"
            )
        self.folder = Path(tempfile.mkdtemp(prefix="pdscale-e2e-"))
        kept = environ.get("PDSCALE_E2E_LOGS")
        self.logs = Path(kept).resolve() if kept else self.folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._options = options
        self._started: list[Component] = []
        self._added: list[AddedNodes] = []
        self._pki = self.folder / "pki"
        services = {Capability.SERVICES} if shutil.which("iptables") else set()
        nodes = {Capability.STATUS_NODES, Capability.PROCESS_NODES, Capability.RUNNING_PODS}
        self.capabilities = frozenset({Capability.FAULTS, *nodes, *services})

    def start(self) -> "LocalCluster":
        try:
            self._start()
        except MissingTool as error:
            self.stop()
            raise ClusterUnavailable(str(error)) from error
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        authority = Authority.create(self._pki)
        signing_key(self._pki)
        serving = authority.issue("apiserver", user="kube-apiserver", names=_NAMES)
        admin = authority.issue("admin", user="pdscale-e2e", group="system:masters")
        self.kubeconfig = self._write_kubeconfig("admin", admin)
        self._access = kubeconfigs.read(self.kubeconfig)
        self._launch("etcd", self._etcd_flags())
        self._apiserver = self._launch("kube-apiserver", self._apiserver_flags(serving))
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            pair = authority.issue(name, user=f"system:{name}")
            self._write_kubeconfig(name, pair)
        agent = authority.issue("node-agent", user="pdscale-e2e-nodes", group="system:masters")
        self._write_kubeconfig("node-agent", agent)
        self._wait_for_apiserver()
        self._controllers = self._launch("kube-controller-manager", self._controller_manager_flags())
        self._launch("kube-scheduler", self._scheduler_flags())
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait_for(account, "the default ServiceAccount", within=60)

    def settle(self) -> None:
        """Nothing goes on in the background."""

    def image(self, name: str) -> str:
        """Process nodes run commands and look at no image."""
        return f"pdscale/{name}:local"

    def add_nodes(self, specs: Sequence[NodeSpec]) -> AddedNodes:
        first = not self._added
        services = Capability.SERVICES in self.capabilities
        added = AddedNodes(
            specs,
            access=self._access,
            kubeconfig=self.folder / "node-agent.kubeconfig",
            folder=self.folder,
            logs=self.logs,
            beside=(_CONTROL_PLANE,) if first else (),
            api=f"{_SERVICE}:443" if services else f"{_ADDRESS}:6443",
        )
        self._added.append(added)
        added.start()
        if first and services:
            self._start_proxy()
        return added

    def stop_apiserver(self) -> None:
        self._apiserver.kill()

    def start_apiserver(self) -> None:
        self._apiserver.start()
        self._wait_for_apiserver()

    @contextmanager
    def frozen_controllers(self) -> Iterator[None]:
        """The controller manager hears and does nothing meanwhile, as on a busy control plane."""
        self._controllers.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._controllers.signal(signal.SIGCONT)

    def stop(self) -> None:
        for added in self._added:
            added.end_agent()
        # The API server waits for its clients and for etcd when asked to end: nobody needs that.
        for component in self._started:
            component.signal(signal.SIGKILL)
        stop_all(self._started)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def audit_log(self) -> Path:
        """What ``LocalOptions.audited`` has written, one request a line."""
        return self.folder / "audit.log"

    def resident_bytes(self) -> dict[str, int]:
        """Memory of each component, for those who want to know what a cluster costs."""
        page = os.sysconf("SC_PAGE_SIZE")
        return {
            component.name: int(Path(f"/proc/{component.pid}/statm").read_text().split()[1]) * page
            for component in self._started
            if component.running
        }

    def _launch(self, name: str, flags: Sequence[str | Path]) -> Component:
        component = Component(
            name,
            (program(name), *flags),
            self.logs / f"{name}.log",
            # The lock file's usual folder is not ours to write to.
            env={"XTABLES_LOCKFILE": str(self.folder / "xtables.lock")},
        )
        self._started.append(component)
        component.start()
        return component

    def _write_kubeconfig(self, name: str, pair: Pair) -> Path:
        path = self.folder / f"{name}.kubeconfig"
        ca = self._pki / "ca.crt"
        return kubeconfigs.write(path, server=_SERVER, ca=ca, certificate=pair.certificate, key=pair.key)

    def _wait_for_apiserver(self) -> None:
        self._wait_for("/readyz", "the API server", within=60)

    def _wait_for(self, path: str, what: str, *, within: float) -> None:
        def answers() -> bool:
            self._check_alive()
            return bool(self._access.get(path))

        eventually(answers, within=within, what=what, every=0.05)

    def _check_alive(self) -> None:
        for component in self._started:
            component.check_alive()

    def _start_proxy(self) -> None:
        config = self.folder / "kube-proxy.json"
        config.write_text(json.dumps(self._proxy_config()))
        self._launch("kube-proxy", [f"--config={config}"])
        eventually(self._proxy_is_healthy, within=30, what="kube-proxy to be healthy", every=0.05)

    def _proxy_is_healthy(self) -> bool:
        """It has written its rules, so pods reach the API server by its Service from the start."""
        self._check_alive()
        return bool(ask("GET", f"http://{_PROXY_HEALTH}/healthz"))

    def _etcd_flags(self) -> list[str]:
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        return [
            f"--data-dir={self.folder / 'etcd'}",
            # A lost test cluster is no loss.
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--log-level=warn",
        ]

    def _apiserver_flags(self, serving: Pair) -> list[str]:
        return [
            "--etcd-servers=http://127.0.0.1:2379",
            # There is no default route inside the namespace to find an address by.
            f"--advertise-address={_ADDRESS}",
            f"--bind-address={_ADDRESS}",
            "--secure-port=6443",
            "--authorization-mode=Node,RBAC",
            f"--client-ca-file={self._pki / 'ca.crt'}",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._pki / 'sa.pub'}",
            f"--service-account-signing-key-file={self._pki / 'sa.key'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--profiling=false",
            *self._audit_flags(),
        ]

    def _audit_flags(self) -> list[str]:
        if self._options.audited is None:
            return []
        policy = self.folder / "audit-policy.json"
        policy.write_text(json.dumps(audit.policy(self._options.audited)))
        return [f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}"]

    def _controller_manager_flags(self) -> list[str]:
        return [
            *self._client_flags("kube-controller-manager"),
            "--use-service-account-credentials",
            f"--root-ca-file={self._pki / 'ca.crt'}",
            f"--service-account-private-key-file={self._pki / 'sa.key'}",
            f"--cluster-signing-cert-file={self._pki / 'ca.crt'}",
            f"--cluster-signing-key-file={self._pki / 'ca.key'}",
            "--allocate-node-cidrs",
            f"--cluster-cidr={_NODES_RANGE}",
            f"--node-cidr-mask-size={self._options.node_prefix}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            f"--node-monitor-grace-period={self._options.node_silence}s",
        ]

    def _scheduler_flags(self) -> list[str]:
        return self._client_flags("kube-scheduler")

    def _client_flags(self, name: str) -> list[str]:
        config = self.folder / f"{name}.kubeconfig"
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--profiling=false",
            # The usual 20 requests a second alone make the controllers' start last 5 s.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]

    def _proxy_config(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "hostnameOverride": _CONTROL_PLANE.name,
            "clientConnection": {"kubeconfig": str(self.folder / "kube-proxy.kubeconfig")},
            # Connection tracking is the host's; a namespace may not change its limits.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "healthzBindAddress": _PROXY_HEALTH,
            "metricsBindAddress": "127.0.0.1:10249",
        }
