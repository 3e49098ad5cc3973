"""The operator's composition root: every concrete object is made here, and closed here.

It runs until a signal arrives. What it needs and cannot do without is checked before kopf starts: a
connection, and the CRD, without which kopf would wait in silence.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pdscale.api.v1alpha1 import GROUP, PLURAL, VERSION, ServingDeployment
from pdscale.controller import admin, webhook
from pdscale.controller.admission import Admission
from pdscale.controller.conflicts import Conflicts
from pdscale.controller.draining import Drains
from pdscale.controller.election import Tenure
from pdscale.controller.flipping import Flips
from pdscale.controller.giving_back import giving_back
from pdscale.controller.loop import Loop
from pdscale.controller.observe import HistorySource, Observer
from pdscale.controller.pulse import Pulse
from pdscale.controller.resizing import Resizing
from pdscale.controller.scales import Scales
from pdscale.controller.sharing import SharedBudgets
from pdscale.controller.stored import Stored
from pdscale.controller.telling import Telling
from pdscale.controller.turns import candidate, in_turns
from pdscale.controller.under_kopf import kopf_operator
from pdscale.controller.view.board import Board
from pdscale.engines.role_switch import switch_role
from pdscale.kube.changes import Changes
from pdscale.kube.client import Kube, Object
from pdscale.kube.errors import NotFound
from pdscale.kube.events import Recorder
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults
from pdscale.kube.rivals import Rivals
from pdscale.kube.targets import Targets
from pdscale.model.units import Seconds
from pdscale.perf.profile import Profile
from pdscale.prom.access import Access
from pdscale.prom.servers import MetricsServers
from pdscale.scaling.autoscaler import Autoscaler
from pdscale.settings import Settings
from pdscale.telemetry import Metrics
from pdscale_forecaster import Remembered

_log = logging.getLogger("pdscale.operator")


class CannotStart(Exception):
    """The operator lacks something that somebody has to provide first."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A wired operator: its loop, and what is asked about it from outside."""

    loop: Loop
    metrics: Metrics
    pulse: Pulse
    board: Board
    changes: Changes


def wire(
    settings: Settings,
    kube: Kube,
    source_at: Callable[[Access], HistorySource],
    *,
    clock: Callable[[], Seconds] = time.time,
    tenure: Tenure | None = None,
) -> Operator:
    """Without a ``tenure`` the operator is alone and may always write."""
    defaults = Defaults(settings.router_image, settings.router_cluster_role)
    metrics, pulse = Metrics(), Pulse(time.monotonic)
    board = Board(clock) if tenure is None else Board(clock, leads=lambda: tenure.left() > 0)
    kube = kube.telling(metrics.api_request)
    if tenure is not None:
        metrics.leads(tenure.left)
        kube = kube.fenced(tenure.left)

    def children(
        deployment: ServingDeployment,
        *,
        profile: Profile,
        live: Mapping[str, Object],
        observed_pause: Seconds | None,
    ) -> Sequence[Object]:
        return render(
            deployment, profile=profile, defaults=defaults, live=live, observed_pause=observed_pause
        )

    observer = Observer(kube, source_at, Targets(kube), settings.prometheus_url)
    rivals = Rivals(kube, clock)
    resizing = Resizing(
        kube=kube,
        flips=Flips(kube, Drains(kube), switch_role),
        scales=Scales(kube, metrics),
        conflicts=Conflicts(rivals),
        budgets=SharedBudgets(kube, rivals),
        board=board,
        clock=clock,
    )
    changes = Changes(kube, settings.namespaces)
    loop = Loop(
        kube=kube,
        observer=observer,
        changes=changes,
        resizing=resizing,
        stored=Stored(kube, clock),
        telling=Telling(metrics, clock),
        render=children,
        autoscaler=lambda: Autoscaler(predict=Remembered()),
        recorder=Recorder(kube, os.environ.get("POD_NAME", socket.gethostname())),
        metrics=metrics,
        pulse=pulse,
        clock=clock,
        tenure=tenure,
    )
    return Operator(loop, metrics, pulse, board, changes)


async def run(settings: Settings, *, stop: asyncio.Event | None = None) -> None:
    """Serve all ServingDeployments until a signal comes, or ``stop`` is set."""
    async with _connected(settings) as kube, _metrics_servers(settings) as servers:
        await _check_crd(kube)
        leading = candidate(settings, kube)
        tenure = None if leading is None else leading.tenure
        operator = wire(settings, kube, servers.at, tenure=tenure)
        started = asyncio.Event()
        if leading is not None:
            started.set()  # whoever waits for the Lease is ready to take it
        app = admin.application(
            operator.metrics.registry, operator.pulse, started.is_set, operator.board.state
        )
        serving = admin.serving(app, host=settings.admin_host, port=settings.admin_port)
        async with (
            giving_back(),
            operator.changes.listening(),
            serving as address,
            _webhook(settings, kube, operator.metrics),
        ):
            where = ", ".join(settings.namespaces) or "all namespaces"
            _log.info("serving %s; health and metrics at %s", where, address)
            if leading is None:
                await kopf_operator(operator.loop, settings, stop=stop, started=started)
            else:
                await in_turns(leading, operator.loop, settings, stop=stop or asyncio.Event())
    _log.info("stopped")


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


@asynccontextmanager
async def _webhook(settings: Settings, kube: Kube, metrics: Metrics) -> AsyncIterator[None]:
    """Served by those that wait for the Lease as well, as a Service does not tell them apart."""
    if settings.webhook_certificates is None:
        yield
        return
    try:
        certificates = webhook.Certificates.of(Path(settings.webhook_certificates))
    except webhook.NoCertificate as error:
        raise CannotStart(f"PDSCALE_WEBHOOK_CERTIFICATES: {error}") from error
    rivals = Rivals(kube.telling(metrics.api_request), time.time)
    app = webhook.application(Admission(rivals, metrics.admission))
    host, port = settings.admin_host, settings.webhook_port
    async with admin.serving(app, host=host, port=port, tls=certificates.context()) as address:
        _log.info("validating webhook at %s%s", address, webhook.PATH)
        yield


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
