"""The web view: the JSON of what an operator holds in memory, and the page that shows it."""

import json
import re
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from fakes.drains import bound, busy, tell
from fakes.kube import PLURAL
from fakes.operator import Bench
from pdscale.controller import admin
from pdscale.controller.explain import explained
from pdscale.controller.pulse import Pulse
from pdscale.controller.snapshot import Snapshot
from pdscale.controller.view.board import LOOKED
from pdscale.controller.view.pages import PAGE, policy
from pdscale.controller.view.sight import PLANS, POINTS
from pdscale.controller.view.state import stored
from pdscale.kube.marks import DRAINING


async def run(it: Bench, *, rate: float, ticks: int = 6) -> None:
    it.source.rate = rate
    for _ in range(ticks):
        await it.tick(after=15)
        it.fake.run_pods()


async def test_the_page_says_what_explain_says_of_each_object(it: Bench) -> None:
    it.create()
    await run(it, rate=60.0)
    (told,) = it.operator.board.state()["objects"]
    stored_now = explained(it.fake.get(PLURAL, "chat"))
    assert {key: told[key] for key in stored_now if key != "gpus"} == {
        key: value for key, value in stored_now.items() if key != "gpus"
    }
    assert told["pools"]["decode"]["ready"] == it.status()["decode"]["ready"] > 1
    assert told["gpus"] == it.status()["gpus"]
    assert [c["type"] for c in told["conditions"]] == [c["type"] for c in it.status()["conditions"]]


async def test_rates_and_forecasts_reach_the_page_on_one_time_axis(it: Bench) -> None:
    it.create()
    await run(it, rate=60.0)
    live = it.operator.board.state()["objects"][0]["live"]
    assert 1 < len(live["rate"]) <= POINTS
    assert live["rate"][-1][1] == 60.0
    assert len(live["forecasts"]) == 6  # one a tick, each for a later instant
    due = [f[0] for f in live["forecasts"]]
    assert due == sorted(set(due))
    assert due[-1] > live["rate"][-1][0]
    assert all(upper >= middle > 0 for _, middle, upper in live["forecasts"])
    json.dumps(live, allow_nan=False)


async def test_plans_that_differ_are_listed_and_equal_ones_once(it: Bench) -> None:
    it.create()
    await run(it, rate=60.0, ticks=12)
    plans = it.operator.board.state()["objects"][0]["live"]["plans"]
    assert 1 < len(plans) < PLANS
    written = [p for p in plans if p["written"]]
    assert written
    assert written[-1]["before"] == {"prefill": 1, "decode": 1}
    assert all(step["reason"] for p in plans for step in p["trail"])


async def test_replicas_are_asked_for_only_while_somebody_looks(it: Bench) -> None:
    await busy(it)
    assert not [q for q in it.source.queries if "live_sessions" in q]
    it.operator.board.state()
    await it.tick(after=5)
    replicas = {r["name"]: r for r in it.operator.board.state()["objects"][0]["live"]["replicas"]}
    assert replicas["chat-decode-0"] == {
        "name": "chat-decode-0",
        "role": "decode",
        "state": "ready",
        "since": None,
        "sessions": 9.0,
        "open": 1.0,
        "kv": None,
    }
    it.now += LOOKED + 1
    before = len(it.source.queries)
    await it.tick()
    assert not [q for q in it.source.queries[before:] if "live_sessions" in q]


async def test_a_replica_that_drains_says_since_when(it: Bench) -> None:
    await busy(it)
    bound(it, 2)
    tell(it, "chat-decode-1", requests=1, sessions=2)
    it.operator.board.state()
    await it.tick(after=5)
    marked_at = it.now
    await it.tick(after=5)
    drains = [
        r for r in it.operator.board.state()["objects"][0]["live"]["replicas"] if r["state"] == "draining"
    ]
    assert [(r["name"], r["since"]) for r in drains] == [("chat-decode-1", marked_at)]


@pytest.mark.parametrize("mark", ["ours", "somebody else's"])
async def test_tile_and_table_agree_on_who_drains_at_every_tick(it: Bench, mark: str) -> None:
    """The tick that sets a mark, or takes it off, has listed the pods before."""
    await busy(it)
    if mark == "ours":
        bound(it, 2)
        tell(it, "chat-decode-1", requests=1, sessions=2)
    else:
        write = {"metadata": {"annotations": {DRAINING: "for my debugger"}}}
        it.fake.store.patch(
            ("pods", "default", "chat-decode-1"), write, subresource="", manager="user", is_json=False
        )
    shown = []
    for least in (2, 2, 3, 3) if mark == "ours" else (3, 3):
        bound(it, least)
        await it.tick(after=5)
        told = it.operator.board.state()["objects"][0]
        rows = [r["state"] for r in told["live"]["replicas"] if r["role"] == "decode"]
        assert told["pools"]["decode"]["draining"] == rows.count("draining")
        shown.append(rows.count("draining"))
    assert shown == ([1, 1, 0, 0] if mark == "ours" else [1, 1])


async def test_an_object_whose_metrics_are_missing_is_shown_with_its_condition_and_no_rate(it: Bench) -> None:
    it.create()
    it.source.down = "connection refused"
    await it.tick()
    (told,) = it.operator.board.state()["objects"]
    assert (told["live"]["rate"], told["live"]["forecasts"]) == ([], [])
    lacking = next(c for c in told["conditions"] if c["type"] == "MetricsAvailable")
    assert lacking["good"] is False


async def test_a_spec_that_is_refused_is_shown_without_anything_live(it: Bench) -> None:
    it.create(profile={"name": "nobody-has-measured-this"})
    await it.tick()
    (told,) = it.operator.board.state()["objects"]
    assert told["live"] is None
    assert any("InvalidSpec" in c for c in told["concerns"])


async def test_an_object_that_was_deleted_leaves_the_page(it: Bench) -> None:
    it.create()
    await it.tick()
    it.loop.forget(Snapshot.of(it.fake.get(PLURAL, "chat")))
    assert it.operator.board.state()["objects"] == []


def test_an_object_that_no_operator_has_seen_is_shown_by_its_spec() -> None:
    spec = {
        "model": "m",
        "gpuBudget": 8,
        "prefill": {"maxReplicas": 4, "gpusPerReplica": 2},
        "decode": {"minReplicas": 2, "maxReplicas": 3},
    }
    told = stored({"metadata": {"namespace": "team", "name": "chat"}, "spec": spec})
    assert told["gpus"] == {"budget": 8}
    assert told["pools"]["prefill"] == {"least": 1, "most": 4, "gpusPerReplica": 2, "wanted": None}
    assert (told["conditions"], told["live"]) == ([], None)


def test_conditions_are_good_bad_or_neither() -> None:
    def judged(kind: str, status: str) -> bool | None:
        condition = {"type": kind, "status": status, "reason": "R"}
        spec = {"gpuBudget": 1, "prefill": {"maxReplicas": 1}, "decode": {"maxReplicas": 1}}
        body = {"metadata": {"name": "a"}, "spec": spec, "status": {"conditions": [condition]}}
        (found,) = stored(body)["conditions"]
        good: bool | None = found["good"]
        return good

    assert [judged("Ready", s) for s in ("True", "False", "Unknown")] == [True, False, None]
    assert [judged("Draining", s) for s in ("True", "False", "Unknown")] == [None, True, None]


async def test_the_operators_admin_port_serves_the_page_beside_its_metrics(it: Bench) -> None:
    it.create()
    await it.tick()
    app = admin.application(CollectorRegistry(), Pulse(lambda: 0.0), lambda: True, it.operator.board.state)
    async with TestClient(TestServer(app)) as client:
        page = await client.get("/")  # leads to /ui
        assert (page.status, page.url.path) == (200, "/ui")
        assert "script-src 'sha256-" in page.headers["Content-Security-Policy"]
        told = await (await client.get("/ui/state")).json()
        assert [o["name"] for o in told["objects"]] == ["chat"]
        assert (await client.get("/metrics")).status == 200
        assert (await client.post("/ui/state")).status == 405  # looking changes nothing


def test_the_page_is_one_file_that_loads_nothing() -> None:
    page = PAGE.read_text()
    assert not re.findall(r"""(?:src|href)\s*=|@import|url\(|https?://(?!www\.w3\.org/2000/svg")""", page)
    assert "innerHTML" not in page  # what objects say must stay text


def test_the_policy_allows_the_pages_own_script_and_style_and_no_changed_one() -> None:
    page = Path(PAGE).read_text()
    assert policy(page).count("sha256-") == 2
    assert policy(page.replace("const EVERY = 2000", "const EVERY = 1")) != policy(page)
