"""The operator's composition root: every concrete object is made here, and closed here.

It runs until a signal arrives. What it needs and cannot do without is checked before kopf starts: a
connection, and the CRD, without which kopf would wait in silence.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import kopf

from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION, ServingDeployment
from pdscale.controller import admin, handlers
from pdscale.controller.loop import Loop
from pdscale.controller.observe import HistorySource, Observer
from pdscale.controller.pulse import Pulse
from pdscale.kube.client import Kube, Object, configuration
from pdscale.kube.errors import NotFound
from pdscale.kube.events import Recorder
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile
from pdscale.prom.servers import MetricsServers
from pdscale.scaling.autoscaler import Autoscaler
from pdscale.settings import Settings
from pdscale.telemetry import Metrics
from pdscale_forecaster import forecast

_log = logging.getLogger("pdscale.operator")


class CannotStart(Exception):
    """The operator lacks something that somebody has to provide first."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A wired operator: its loop, and what is asked about it from outside."""

    loop: Loop
    metrics: Metrics
    pulse: Pulse


def wire(
    settings: Settings,
    kube: Kube,
    source_at: Callable[[str], HistorySource],
    *,
    clock: Callable[[], Seconds] = time.time,
) -> Operator:
    defaults = Defaults(settings.router_image, settings.router_cluster_role)
    metrics, pulse = Metrics(), Pulse(time.monotonic)

    def children(deployment: ServingDeployment, *, profile: Profile) -> Sequence[Object]:
        return render(deployment, profile=profile, defaults=defaults)

    loop = Loop(
        kube=kube,
        observer=Observer(kube, source_at),
        render=children,
        autoscaler=lambda: Autoscaler(predict=forecast),
        recorder=Recorder(kube, os.environ.get("POD_NAME", socket.gethostname())),
        metrics=metrics,
        pulse=pulse,
        clock=clock,
    )
    return Operator(loop, metrics, pulse)


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve all ServingDeployments until a signal comes, or ``stop`` is set."""
    async with _connected(settings) as kube, _metrics_servers(settings) as servers:
        await _check_crd(kube)
        operator = wire(settings, kube, servers.at)
        started = asyncio.Event()
        app = admin.application(operator.metrics.registry, operator.pulse, started.is_set)
        async with admin.serving(app, host=settings.admin_host, port=settings.admin_port) as address:
            where = ", ".join(settings.namespaces) or "all namespaces"
            _log.info("serving %s; health and metrics at %s", where, address)
            await kopf_operator(operator.loop, settings, stop=stop, started=started)
    _log.info("stopped")


IDENTITY: Final = "pdscale"


async def kopf_operator(
    loop: handlers.Ticking, settings: Settings, *, stop: asyncio.Event | None, started: asyncio.Event
) -> None:
    registry, kopf_settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    handlers.register(registry, loop)
    handlers.configure(kopf_settings)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await credentials(settings)

    await kopf.operator(
        registry=registry,
        settings=kopf_settings,
        # Else kopf asks for the name of the process's user, and a container's number need not have one.
        identity=IDENTITY,  # type: ignore[arg-type]  # a NewType of str that kopf does not export
        stop_flag=stop,
        ready_flag=started,
        **handlers.scope(settings.namespaces),
    )


async def credentials(settings: Settings) -> kopf.ConnectionInfo:
    """The same server and identity that our own client has; asked again when the token is refused."""
    found = await configuration(settings.kubeconfig)
    header = await found.get_api_key_with_prefix("BearerToken")
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        ca_data=found.ca_cert_data,
        insecure=not found.verify_ssl,
        username=found.username or None,
        password=found.password or None,
        scheme="Bearer" if header else None,
        token=header.split(" ", 1)[-1] if header else None,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
    )


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Kube]:
    kube = await Kube.connect(settings.kubeconfig)
    try:
        yield kube
    finally:
        await kube.close()


@asynccontextmanager
async def _metrics_servers(settings: Settings) -> AsyncIterator[MetricsServers]:
    servers = MetricsServers(scrape_interval=settings.scrape_interval)
    try:
        yield servers
    finally:
        servers.close()


async def _check_crd(kube: Kube) -> None:
    try:
        served = await kube.get(f"/apis/{GROUP}/{VERSION}")
    except NotFound:
        served = {}
    if not any(r["name"] == PLURAL for r in served.get("resources") or ()):
        raise CannotStart(
            f"the API server does not know {PLURAL}.{GROUP}/{VERSION}: "
            "apply the CRD first (pdscale crd | kubectl apply --server-side -f -)"
        )
