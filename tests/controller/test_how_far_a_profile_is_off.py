"""Engines that are not as the profile says: what the status, the metrics and an explanation tell of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fakes.kube import PLURAL
from fakes.operator import Bench, bench
from fakes.serving import SteadyMetrics
from pdscale.controller.explain import explained
from pdscale.controller.explain_text import text
from pdscale.model.workload import NoData
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.capacity import prefill_service, resident_tokens
from pdscale.scaling.history import History
from pdscale_forecaster.series import Series

PROFILE = BUILTIN["llama-3.1-8b-h100"]
BATCH = 20.0


@dataclass(slots=True)
class OtherEngines(SteadyMetrics):
    """Engines that take ``off`` times what the profile says; ``None`` tell nothing."""

    off: float | None = 1.0

    async def history(self, **asked: Any) -> History:
        past = await SteadyMetrics.history(self, **asked)
        workload = past.workload(window=300.0)
        if self.off is None or isinstance(workload, NoData):
            return past
        leg, _ = prefill_service(workload, PROFILE)
        step = PROFILE.step_seconds(BATCH, BATCH * resident_tokens(workload))
        rate = past.request_rate

        def steady(value: float) -> Series:
            return replace(rate, values=(value,) * len(rate.values))

        return replace(
            past,
            inter_token_latency=steady(self.off * step),
            decode_batch=steady(BATCH),
            prefill_leg_seconds=steady(self.off * leg),
            prefill_leg_tokens=steady(workload.uncached_tokens),
        )


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as found:
        found.source = OtherEngines(rate=10.0)
        yield found


async def _after_a_tick(it: Bench, off: float | None, **profile: str) -> Bench:
    assert isinstance(it.source, OtherEngines)
    it.source.off = off
    it.create(profile={"name": PROFILE.name, **profile})
    await it.tick()
    await it.tick(after=15.0)
    return it


def _gauge(it: Bench, role: str) -> float | None:
    registry = it.loop.metrics.registry
    labels = {"namespace": "default", "name": "chat"}
    return registry.get_sample_value(f"pdscale_operator_profile_{role}_factor", labels)


async def test_a_slower_engine_is_planned_for_and_told(it: Bench) -> None:
    await _after_a_tick(it, 1.3)
    status = it.status()
    assert status["profile"]["decodeFactor"] == pytest.approx(1.3, abs=0.02)
    assert _gauge(it, "prefill") == pytest.approx(1.3, abs=0.03)
    assert it.condition("ProfileFits")[:2] == ("True", "ProfileCorrected")
    notes = [s.get("note", "") for s in status["plan"]["trail"] if s["reason"] == "Calibrated"]
    assert any("x the profile's decode steps" in note for note in notes)
    told = f"engines take {status['profile']['prefillFactor']:g}x its prefills"
    assert told in text(explained(it.fake.get(PLURAL, "chat")))


async def test_slower_engines_need_more_replicas_of_both_roles(it: Bench) -> None:
    right = (await _after_a_tick(it, 1.0)).status()["demand"]
    assert isinstance(it.source, OtherEngines)
    it.source.off = 1.3
    it.restart()
    await it.tick(after=15.0)
    slow = it.status()["demand"]
    assert slow["prefill"]["replicas"] > 1.2 * right["prefill"]["replicas"]
    assert slow["decode"]["replicas"] > 1.2 * right["decode"]["replicas"]


async def test_a_profile_that_is_right_is_said_to_be(it: Bench) -> None:
    await _after_a_tick(it, 1.0)
    assert it.condition("ProfileFits")[:2] == ("True", "ProfileConfirmed")
    assert it.status()["profile"] == {"prefillFactor": 1.0, "decodeFactor": 1.0}


async def test_a_profile_of_another_engine_becomes_a_warning(it: Bench) -> None:
    await _after_a_tick(it, 1.0)
    assert isinstance(it.source, OtherEngines)
    it.source.off = 6.0
    for _ in range(60):
        await it.tick(after=15.0)
    holds, reason, message = it.condition("ProfileFits")
    assert (holds, reason) == ("False", "ProfileOfAnotherEngine")
    assert "prefill engines take 2 times what it says" in message
    assert "ProfileOfAnotherEngine" in {e["reason"] for e in it.fake.events()}


async def test_nothing_is_told_where_engines_tell_nothing(it: Bench) -> None:
    await _after_a_tick(it, None)
    assert "profile" not in it.status()
    assert _gauge(it, "decode") is None
    assert "ProfileFits" not in {c["type"] for c in it.status()["conditions"]}


async def test_a_profile_is_taken_as_it_is_where_the_spec_says_so(it: Bench) -> None:
    await _after_a_tick(it, 1.3, calibration="Disabled")
    assert "profile" not in it.status()
    assert "Calibrated" not in {s["reason"] for s in it.status()["plan"]["trail"]}
