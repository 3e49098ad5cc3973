"""``pdscale explain``, ``approve`` and ``take``, on objects that a loop has written."""

import asyncio
import json
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from fakes.kube import PLURAL
from fakes.operator import Bench
from pdscale.controller import asking
from pdscale.controller.explain import explained
from pdscale.controller.explain_text import text

ROOT = Path(__file__).parents[2]


async def ask(it: Bench, folder: Path, *arguments: str) -> str:
    config = it.fake.kubeconfig(folder / "asking")
    given = asking.parser("pdscale").parse_args([*arguments, "--kubeconfig", config])
    return await asking.answer(given)


async def run(it: Bench, *, rate: float, ticks: int = 6) -> None:
    it.source.rate = rate
    for _ in range(ticks):
        await it.tick(after=15)
        it.fake.run_pods()


async def test_an_explanation_names_every_part_of_a_decision(it: Bench, tmp_path: Path) -> None:
    it.create()
    await run(it, rate=60.0)
    told = await ask(it, tmp_path, "explain", "chat")
    names = [line[2:15].strip() for line in told.splitlines()[1:] if line[2:15].strip()]
    assert names == [
        "replicas",
        "traffic",
        "forecast",
        "one replica",
        "need",
        "candidates",
        "plan",
        "steps",
        "binding",
        "KV kept",
        "lately",
        "would change",
    ]
    assert told.startswith("default/chat, scaling.mode Auto\n")
    assert "rounds/s expected" in told


async def test_the_planned_pair_is_the_cheapest_that_carries_the_need(it: Bench, tmp_path: Path) -> None:
    it.create(scaling={"tolerance": 0.0})
    await run(it, rate=40.0)
    parts = json.loads(await ask(it, tmp_path, "explain", "chat", "-o", "json"))
    planned, fewer_p, fewer_d, more_p, more_d = parts["candidates"]
    assert (planned["verdict"], planned["share"]) == ("planned", 1.0)
    for fewer in (fewer_p, fewer_d):
        assert fewer["verdict"].startswith(("carries ", "below "))
    for more in (more_p, more_d):
        assert more["verdict"] in ("1 GPUs more for the same need", "above gpuBudget 10")
    assert parts["plan"]["prefill"] == it.replicas()[0]


async def test_what_bites_is_named(it: Bench, tmp_path: Path) -> None:
    it.create(gpuBudget=4)
    await run(it, rate=500.0)
    parts = json.loads(await ask(it, tmp_path, "explain", "chat", "-o", "json"))
    assert parts["binding"] == it.condition("SLOAttainable")[2]
    assert any(c.startswith("SLOAttainable: SLOUnattainable: ") for c in parts["concerns"])
    assert "above gpuBudget 4" in [c["verdict"] for c in parts["candidates"]]


async def test_the_rate_at_which_a_role_grows_makes_it_grow_and_not_a_rate_below(it: Bench) -> None:
    it.create(scaling={"tolerance": 0.0})
    await run(it, rate=40.0)
    before = it.replicas()
    (line,) = (
        x for x in explained(it.fake.get(PLURAL, "chat"))["wouldChange"] if x.startswith("decode grows")
    )
    rate = float(line.split()[3])
    await run(it, rate=rate * 0.98)
    assert it.replicas()[1] == before[1]
    await run(it, rate=rate * 1.02)
    assert it.replicas()[1] == before[1] + 1


async def test_what_a_person_can_do_is_said(it: Bench) -> None:
    it.create(scaling={"mode": "Approve"})
    await run(it, rate=30.0)
    body = it.fake.get(PLURAL, "chat")
    waits = body["status"]["proposal"]["id"]
    assert explained(body)["wouldChange"][0].startswith(
        f"pdscale approve chat (annotation pdscale.io/approve={waits})"
    )
    assert f"  proposal     {waits}: " in text(explained(body))
    body["metadata"]["annotations"] = {"autoscaling.keda.sh/paused": "true"}
    assert "without the annotation autoscaling.keda.sh/paused" in explained(body)["wouldChange"]


@pytest.mark.parametrize("down", ["", "http://prometheus:9090: no answer"])
async def test_an_object_of_which_nothing_is_known_is_explained_too(it: Bench, down: str) -> None:
    it.create()
    assert text(explained(it.fake.get(PLURAL, "chat"))) == "default/chat, scaling.mode Auto\n"
    it.source.down = down
    await it.tick()
    parts = explained(it.fake.get(PLURAL, "chat"))
    assert "candidates" not in parts
    assert any("MetricsAvailable" in line for line in parts["wouldChange"])
    assert "would change" in text(parts)


async def test_an_approval_is_one_annotation_and_the_plan_is_carried_out(it: Bench, tmp_path: Path) -> None:
    it.create(scaling={"mode": "Approve"})
    await run(it, rate=30.0)
    waits = it.status()["proposal"]
    told = await ask(it, tmp_path, "approve", "chat")
    assert told.startswith(f"approved {waits['id']}: ")
    await run(it, rate=30.0)
    assert it.replicas() == (waits["prefill"], waits["decode"])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("explain", "nobody"), "no ServingDeployment nobody in namespace default"),
        (("approve", "chat"), "nothing is proposed for chat; scaling.mode is Auto"),
        (("explain", "chat", "-n", "other"), "no ServingDeployment chat in namespace other"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    it: Bench, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    it.create()
    with pytest.raises(asking.Refused, match=complaint):
        await ask(it, tmp_path, *arguments)
    assert it.fake.writes() == []


async def test_a_proposal_that_was_replaced_meanwhile_is_not_approved(it: Bench, tmp_path: Path) -> None:
    it.create(scaling={"mode": "Approve"})
    await run(it, rate=30.0)
    with pytest.raises(asking.Refused, match="proposal 9p9d-x does not wait; "):
        await ask(it, tmp_path, "approve", "chat", "--proposal", "9p9d-x")


async def test_taking_is_another_value_each_time(it: Bench, tmp_path: Path) -> None:
    it.create()
    values = set()
    for _ in range(2):
        await ask(it, tmp_path, "take", "chat")
        values.add(it.fake.get(PLURAL, "chat")["metadata"]["annotations"]["pdscale.io/take-replicas"])
    assert len(values) == 2


async def test_the_command_line_and_the_kubectl_plugin_answer_alike(it: Bench, tmp_path: Path) -> None:
    it.create()
    await run(it, rate=30.0)
    config = it.fake.kubeconfig(tmp_path / "config")
    arguments = ["explain", "chat", "--kubeconfig", config]
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["kubectl-pdscale"]
    plugin: Any = EntryPoint("kubectl-pdscale", script, "console_scripts").load()
    assert plugin is asking.plugin
    calls = [
        [sys.executable, "-m", "pdscale", *arguments],
        [
            sys.executable,
            "-c",
            "import sys; from pdscale.controller.asking import plugin; sys.exit(plugin())",
            *arguments,
        ],
    ]
    answers = [
        await asyncio.to_thread(subprocess.run, c, capture_output=True, text=True, check=True, timeout=30)
        for c in calls
    ]
    assert answers[0].stdout == answers[1].stdout == text(explained(it.fake.get(PLURAL, "chat")))
