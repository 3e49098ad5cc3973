"""From the pauses that sidecars saw to the argument that engines get, told in status and explanation."""

import json

import pytest

from fakes.kube import PLURAL
from fakes.operator import Bench
from pdscale.controller.explain import explained
from pdscale.controller.explain_text import text
from pdscale.controller.pauses import EVERY, query, read


def engines_keep(it: Bench, role: str = "decode") -> int:
    container = it.fake.get("deployments", f"chat-{role}")["spec"]["template"]["spec"]["containers"][0]
    config = json.loads(container["args"][container["args"].index("--kv-transfer-config") + 1])
    seconds: int = config["kv_connector_extra_config"]["decoder_kv_blocks_ttl"]
    return seconds


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        pytest.param({"pause": 41.0, "count": 500.0}, 50.0, id="coarse, upwards"),
        pytest.param({"pause": 2.0, "count": 500.0}, 10.0, id="never below 10 s"),
        pytest.param({"pause": 1800.0, "count": 500.0}, 480.0, id="never above 480 s"),
        pytest.param({"pause": 41.0, "count": 99.0}, None, id="too few pauses"),
        pytest.param({"count": 500.0}, None, id="no quantile"),
        pytest.param({"pause": 41.0}, None, id="no count"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_what_is_concluded_from_an_answer(told: dict[str, float], seconds: float | None) -> None:
    assert read(told) == seconds


def test_both_figures_are_asked_for_at_once_and_of_sidecars() -> None:
    asked = query("ns", "chat")
    assert "histogram_quantile(0.95, sum by (le) (rate(pdscale_router_session_gap_seconds_bucket{" in asked
    assert 'place="sidecar"' in asked
    assert "3600 * sum(rate(pdscale_router_session_gap_seconds_count{" in asked


async def test_pauses_are_shown_at_once_and_obeyed_with_the_next_change(it: Bench) -> None:
    it.create()
    await it.tick()
    assert it.status()["kvBlocksTtl"] == {"inForce": "60s"}
    it.source.pause = 131.0
    await it.tick(after=EVERY)
    assert it.status()["kvBlocksTtl"] == {"inForce": "60s", "observed": "140s"}
    assert engines_keep(it) == 60
    told = text(explained(it.fake.get(PLURAL, "chat")))
    assert "60s for a session's next round; 95 % of pauses end within 140s" in told
    patch = {"spec": {"engine": {"image": "engine:2"}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    await it.tick(after=15)
    assert (engines_keep(it), engines_keep(it, "prefill")) == (60, 140), "one role after the other"
    assert it.status()["kvBlocksTtl"]["inForce"] == "60s"
    it.fake.run_pods()
    await it.tick(after=15)
    assert (engines_keep(it), engines_keep(it, "prefill")) == (140, 140)
    it.source.pause = 300.0
    it.restart()
    await it.tick(after=EVERY)
    assert engines_keep(it) == 140, "a restart is no other reason"
    assert it.status()["kvBlocksTtl"] == {"inForce": "140s", "observed": "300s"}


async def test_what_an_engine_does_not_obey_is_not_told(it: Bench) -> None:
    it.create(engine={"args": ["--kv-transfer-config", "{}"]})
    it.source.pause = 131.0
    await it.tick()
    assert "kvBlocksTtl" not in it.status()


async def test_too_few_pauses_take_the_last_figure_back(it: Bench) -> None:
    it.create()
    await it.tick()
    it.source.pause = 131.0
    await it.tick(after=EVERY)
    assert it.status()["kvBlocksTtl"]["observed"] == "140s"
    it.source.pause = None
    await it.tick(after=EVERY)
    assert "observed" not in it.status()["kvBlocksTtl"]


async def test_a_metrics_server_that_is_down_changes_nothing(it: Bench) -> None:
    it.create()
    it.source.pause = 131.0
    await it.tick()
    it.source.down = "no answer"
    await it.tick(after=EVERY)
    assert it.status()["kvBlocksTtl"] == {"inForce": "60s", "observed": "140s"}


async def test_pauses_are_asked_for_every_five_minutes_and_not_of_a_paused_object(it: Bench) -> None:
    it.create()
    for _ in range(10):
        await it.tick(after=15)
    assert len([q for q in it.source.queries if "session_gap" in q]) == 1
    await it.tick(after=EVERY)
    assert len([q for q in it.source.queries if "session_gap" in q]) == 2
    patch = {"spec": {"scaling": {"mode": "Paused"}}}
    it.fake.store.patch((PLURAL, "default", "chat"), patch, subresource="", manager="user", is_json=False)
    await it.tick(after=EVERY)
    assert len([q for q in it.source.queries if "session_gap" in q]) == 2
