"""Alerts and dashboards on a real Prometheus, fed by what our programs export and by made-up bad days.

Every panel must show something for a healthy deployment, no alert may hold for one, and each alert must hold
for the bad day that it is made for. A past is one page of samples with times of their own: nobody waits. The
present goes on while it is scraped: what our programs have counted, they count again every second, since
without rates most panels have nothing to divide.
"""

import asyncio
import json
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
import yaml

from fakes import exports
from fakes.bad_days import DAYS, MORE_BAD, MORE_QUIET, PAST, STEP, pasts, told
from fakes.exports import Page
from pdscale_e2e.asking import ask
from pdscale_e2e.binaries import MissingTool, program
from pdscale_e2e.component import Component
from pdscale_e2e.pictures.drawing import NOTHING, drawn
from pdscale_e2e.pictures.panels import Source, Window
from pdscale_e2e.waiting import eventually

CHART: Final = Path(__file__).parents[1] / "charts" / "pdscale"
ALERTS_FILE: Final = CHART / "files" / "alerts.yaml"
RULES: Final = [r for g in yaml.safe_load(ALERTS_FILE.read_text())["groups"] for r in g["rules"]]
ALERTS: Final = {r["alert"]: r for r in RULES if "alert" in r}
RECORDED: Final = {r["record"]: r["expr"] for r in RULES if "record" in r}
COUNTED: Final = re.compile(r"^(\w[\w:]*_(?:total|bucket|count|sum)(?:{.*})?) (\S+)$", re.M)
SICK: Final = 'result="refused"'  # what a healthy deployment has counted once, and does not count again


class Server:
    """Prometheus, and the pages that it scrapes."""

    def __init__(self, url: str, now: float) -> None:
        self.url, self.now = url, now

    def ask(self, query: str, *, at: float | None = None) -> list[dict[str, Any]]:
        asked = urlencode({"query": query} | ({} if at is None else {"time": at}))
        answer = ask("GET", f"{self.url}/api/v1/query?{asked}")
        assert answer is not None, query
        found: dict[str, Any] = json.loads(answer)
        assert found["status"] == "success", found
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def holds(self, alert: str, *, at: float) -> set[str]:
        """Namespaces for which an alert's expression holds; recorded series are put in their place."""
        query = ALERTS[alert]["expr"]
        for name, text in RECORDED.items():
            query = re.sub(rf"{re.escape(name)}\b", lambda _, t=text: f"({t})", query)  # type: ignore[misc]
        return {r["metric"].get("namespace", "") for r in self.ask(query, at=at)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    try:
        binary = program("prometheus")
    except MissingTool as error:
        pytest.fail(str(error))
    now = time.time() - STEP
    pages = [exports.operator_page(), *asyncio.run(_served())]
    began = time.monotonic()
    texts: dict[str, Callable[[], str]] = {
        f"/{i}": lambda text=page.text: going_on(text, time.monotonic() - began)  # type: ignore[misc]
        for i, page in enumerate(pages)
    }
    past = "".join(line for name, past in pasts().items() for line in told(name, past, now=now))
    texts["/past"] = lambda: past
    folder = tmp_path_factory.mktemp("prometheus")
    with _web(texts) as port:
        url = f"127.0.0.1:{_free()}"
        (folder / "prometheus.json").write_text(json.dumps(_configuration(pages, port)))
        running = Component(
            "prometheus",
            (
                binary,
                f"--config.file={folder / 'prometheus.json'}",
                f"--storage.tsdb.path={folder / 'series'}",
                f"--web.listen-address={url}",
                "--log.level=warn",
            ),
            folder / "log",
        )
        running.start()
        found = Server(f"http://{url}", now)
        try:
            eventually(lambda: _ready(running, found), within=120, what="Prometheus has scraped thrice")
            yield found
        finally:
            running.stop()


def going_on(text: str, seconds: float) -> str:
    """A page after it has counted the same again in each of so many seconds."""

    def counted(found: re.Match[str]) -> str:
        times = 1.0 if SICK in found[1] else 1.0 + seconds
        return f"{found[1]} {float(found[2]) * times}"

    return COUNTED.sub(counted, text)


async def _served() -> list[Page]:
    return [*await exports.data_plane(), *await exports.sglang_engines()]


def _ready(running: Component, server: Server) -> bool:
    running.check_alive()
    scraped = server.ask('min(count_over_time(up{job="pdscale"}[5m]))')
    past = server.ask('{__name__=~".+",namespace="quiet-pdscaleflaps"}', at=server.now)
    return bool(past) and bool(scraped) and float(scraped[0]["value"][1]) >= 3


def _configuration(pages: list[Page], port: int) -> dict[str, Any]:
    """Each page is a target of its own, labelled as if its pod had been found."""

    def target(path: str, **labels: str) -> dict[str, Any]:
        labels = {"__metrics_path__": path, "instance": path, **labels}
        return {"targets": [f"127.0.0.1:{port}"], "labels": labels}

    def job(name: str, every: str, targets: list[dict[str, Any]]) -> dict[str, Any]:
        times = {"scrape_interval": every, "scrape_timeout": every}
        return {"job_name": name, "honor_labels": True, "static_configs": targets, **times}

    found = [target(f"/{i}", namespace=exports.NAMESPACE, pod=page.pod) for i, page in enumerate(pages)]
    return {
        # The past comes in one large piece, after the present has begun.
        "storage": {"tsdb": {"out_of_order_time_window": "12h"}},
        "rule_files": [str(ALERTS_FILE)],
        "scrape_configs": [job("pdscale", "1s", found), job("past", "5s", [target("/past")])],
    }


@contextmanager
def _web(texts: Mapping[str, Callable[[], str]]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = texts[self.path]().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads a line for each scrape."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        serving = threading.Thread(target=web.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield web.server_port
        finally:
            web.shutdown()
            serving.join()


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def panels() -> list[Any]:
    return [
        pytest.param(target["expr"], id=f"{file.stem}: {panel['title']}: {target['legendFormat']}")
        for file in sorted((CHART / "files" / "dashboards").glob("*.json"))
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    ]


def _asked(query: str, name: str) -> str:
    for variable, value in {"namespace": exports.NAMESPACE, "name": name, "__rate_interval": "1m"}.items():
        query = query.replace(f"${variable}", value)
    return query


def known(answer: list[dict[str, Any]]) -> bool:
    """Whether a picture would show something: a share of nothing is a series too, and says NaN."""
    return any(math.isfinite(float(series["value"][1])) for series in answer)


@pytest.mark.parametrize("query", panels())
def test_a_panel_shows_something_for_every_engine_that_it_is_about(server: Server, query: str) -> None:
    """What only one kind of engine exports is asked of that one, which here has had no work."""
    if "sglang:" in query:
        assert server.ask(_asked(query, exports.NAME_SGLANG))
    if "sglang:" not in query or "vllm:" in query:
        assert known(server.ask(_asked(query, exports.NAME)))


def test_prometheus_takes_all_rules(server: Server) -> None:
    answer: dict[str, Any] = json.loads(ask("GET", f"{server.url}/api/v1/rules"))
    loaded = {rule["name"] for group in answer["data"]["groups"] for rule in group["rules"]}
    assert loaded == set(ALERTS) | set(RECORDED)


def test_every_alert_has_its_days() -> None:
    assert set(DAYS) | {"PDScaleNobodyLeads"} == set(ALERTS)


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_no_alert_holds_for_a_healthy_deployment(server: Server, alert: str) -> None:
    assert not server.holds(alert, at=time.time()) & {exports.NAMESPACE, ""}


@pytest.mark.parametrize("alert", sorted(DAYS))
def test_an_alert_holds_on_its_bad_day_and_is_quiet_on_the_nearest_other(server: Server, alert: str) -> None:
    wanted = {f"bad-{alert.lower()}"} | {name for name, (of, _) in MORE_BAD.items() if of == alert}
    quiet = {f"quiet-{alert.lower()}"} | {name for name, (of, _) in MORE_QUIET.items() if of == alert}
    found = server.holds(alert, at=server.now)
    assert wanted <= found
    assert not quiet & found


def test_nobody_leads_where_no_operator_was_scraped(server: Server) -> None:
    assert server.holds("PDScaleNobodyLeads", at=server.now - PAST - 3600) == {""}


@pytest.mark.parametrize(
    "name", sorted(file.stem for file in (CHART / "files" / "dashboards").glob("*.json"))
)
def test_a_dashboard_is_drawn_with_curves_in_every_panel(server: Server, name: str) -> None:
    now = time.time()
    shown = Source(server.url, exports.NAMESPACE, exports.NAME).shown(name, Window(now - 60, now, "30s"))
    assert [panel.title for panel in shown if not panel.curves] == []
    seen = [axes for axes in drawn(name, shown).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in seen] == [panel.title for panel in shown]
    assert all(axes.lines or axes.collections for axes in seen)


def test_of_a_deployment_that_nobody_has_a_dashboard_says_that_nothing_is_known(server: Server) -> None:
    now = time.time()
    shown = Source(server.url, exports.NAMESPACE, "nobody").shown("router", Window(now - 60, now, "30s"))
    texts = [text.get_text() for axes in drawn("router", shown).axes for text in axes.texts]
    assert texts == [NOTHING] * len(shown)
