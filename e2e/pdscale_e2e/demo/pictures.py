"""Pictures of the demo for the documentation: the operator's page under load, the dashboards, the report."""

import time
from pathlib import Path
from typing import Any, Final

from kubernetes import client

from pdscale_e2e.asking import ask
from pdscale_e2e.demo.stage import NAMESPACE, Stage
from pdscale_e2e.install import NAMESPACE as OPERATORS
from pdscale_e2e.install import lease_holder, pod_of
from pdscale_e2e.pictures.browser import picture
from pdscale_e2e.pictures.dashboards import draw
from pdscale_e2e.pictures.panels import Source, Window

ELASTIC: Final = "elastic"
SIZE: Final = (1280, 1700)  # of the page, in pixels
SIZE_OF_REPORT: Final = (1000, 1500)
SECONDS: Final = 330.0  # that a demo with its defaults has taken by then
RATES: Final = "20s"  # of a Prometheus that scrapes every second


def draw_dashboards(stage: Stage, folder: Path) -> None:
    now = time.time()
    list(draw(Source(stage.prometheus, NAMESPACE, ELASTIC), Window(now - SECONDS, now, RATES), folder))


def draw_page(stage: Stage, folder: Path) -> None:
    """Looked at for some ticks before: only then are sessions asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    url = _page_of_the_leader(stage)
    for _ in range(10):
        ask("GET", f"{url}/state")
        time.sleep(1)
    picture(url, folder / "page.png", size=SIZE)


def draw_report(report: Path, folder: Path) -> None:
    picture(report.resolve().as_uri(), folder / "report.png", size=SIZE_OF_REPORT)


def _page_of_the_leader(stage: Stage) -> str:
    core: Any = client.CoreV1Api(stage.api)
    pod = core.read_namespaced_pod(pod_of(lease_holder(stage.api)), OPERATORS)
    return f"http://{pod.status.pod_ip}:{pod.spec.containers[0].ports[0].container_port}/ui"
