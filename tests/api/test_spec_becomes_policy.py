"""From the custom resource to what the autoscaler knows, and profiles from their two sources."""

import json
from dataclasses import replace
from datetime import time
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
import yaml

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import InvalidSpec, builtin_profile, policy, profile_from_text, read
from pdscale.api.v1alpha1 import ForecastSettings
from pdscale.model.pools import Bounds, GpusPerReplica, Targets
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import profile_document
from pdscale.scaling.pace import Behavior, PacePolicy, Rules, Select, Unit
from pdscale.scaling.policy import Mode, Policy
from pdscale.scaling.schedule import Schedule
from pdscale_forecaster import AUTO, MODELS

PROFILE = BUILTIN["llama-2-70b-a100-tp8-2023"]


def test_defaults_of_the_resource_are_those_of_the_policy() -> None:
    found = policy(read(GOOD).spec, PROFILE)
    assert replace(found, engines="") == Policy(
        slo=SLO(ttft=2.0, tpot=0.075),
        prefill=Bounds(1, 4),
        decode=Bounds(1, 4),
        gpus=GpusPerReplica(8, 8),
        gpu_budget=64,
        profile=PROFILE,
    )


def test_engines_of_another_image_or_arguments_are_others() -> None:
    engines = [
        policy(read(merged(GOOD, {"spec": {"engine": engine}})).spec, PROFILE).engines
        for engine in ({}, {"image": "other:1"}, {"args": ["--enforce-eager"]}, {"port": 9000})
    ]
    assert len(set(engines)) == 3
    assert engines[0] == engines[3]


def test_a_profile_is_corrected_unless_it_is_said_not_to() -> None:
    assert policy(read(GOOD).spec, PROFILE).calibrate
    spec = {"profile": {"calibration": "Disabled"}}
    assert not policy(read(merged(GOOD, {"spec": spec})).spec, PROFILE).calibrate


def test_every_setting_arrives_in_seconds_and_fractions() -> None:
    spec = {
        "prefill": {"startupTime": "4m"},
        "decode": {"startupTime": "90s"},
        "forecast": {"model": "Ridge", "quantile": 0.8, "history": "1h", "step": "30s"},
        "scaling": {
            "mode": "Recommend",
            "interval": "500ms10s",
            "tolerance": 0.2,
            "scaleDownWindow": "10m",
        },
    }
    found = policy(read(merged(GOOD, {"spec": spec})).spec, PROFILE)
    assert (found.start_up_prefill, found.start_up_decode) == (240, 90)
    assert (found.forecast_model, found.quantile) == ("Ridge", 0.8)
    assert (found.history, found.step, found.interval) == (3600, 30, 10.5)
    assert (found.tolerance, found.scale_down_window) == (0.2, 600)
    assert found.mode is Mode.RECOMMEND


def test_behavior_arrives_as_the_planner_knows_it() -> None:
    up = {"selectPolicy": "Min", "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}
    behavior = {"scaleUp": up, "scaleDown": {"selectPolicy": "Disabled"}}
    found = policy(read(merged(GOOD, {"spec": {"scaling": {"behavior": behavior}}})).spec, PROFILE)
    half_in_a_minute = PacePolicy(Unit.PERCENT, 50, 60.0)
    assert found.behavior == Behavior(Rules((half_in_a_minute,), Select.MIN), Rules((), Select.DISABLED))


def test_replicas_beyond_the_need_arrive_as_the_planner_knows_them() -> None:
    night = {"days": ["Fri", "Sat"], "start": "22:30", "end": "06:00", "timeZone": "Europe/Berlin"}
    spec = {
        "reservedGpus": 16,
        "prefill": {"spareReplicas": 1},
        "scaling": {"schedules": [night | {"decodeMinReplicas": 3}, {"start": "08:00", "end": "09:00"}]},
    }
    found = policy(read(merged(GOOD, {"spec": spec})).spec, PROFILE)
    assert (found.spare, found.reserved_gpus) == (Targets(1, 0), 16)
    first, second = found.schedules
    assert first == Schedule(
        Targets(0, 3), time(22, 30), time(6), ZoneInfo("Europe/Berlin"), frozenset({4, 5})
    )
    assert (second.zone, second.days) == (ZoneInfo("Etc/UTC"), frozenset(range(7)))


@pytest.mark.parametrize(
    ("zone", "similar"),
    [("Europe/Berln", "such as Europe/Berlin"), ("../etc", "such as Europe/Berlin"), ("zz", "IANA")],
)
def test_a_time_zone_that_does_not_exist_is_answered_with_similar_ones(zone: str, similar: str) -> None:
    hours = {"start": "08:00", "end": "09:00", "timeZone": zone}
    with pytest.raises(InvalidSpec, match=f"timeZone must be .*{similar}.*got {zone}"):
        read(merged(GOOD, {"spec": {"scaling": {"schedules": [hours]}}}))


def test_a_misspelt_profile_is_answered_with_similar_names() -> None:
    assert builtin_profile(PROFILE.name) is PROFILE
    with pytest.raises(InvalidSpec, match=r"such as .*llama-2-70b-a100-tp8-2023.*got llama-2-70b-a100-tp8$"):
        builtin_profile("llama-2-70b-a100-tp8")


def test_a_profile_like_no_other_is_answered_with_the_whole_list() -> None:
    with pytest.raises(InvalidSpec) as caught:
        builtin_profile("zzz")
    assert all(name in str(caught.value) for name in BUILTIN)


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump], ids=["json", "yaml"])
def test_a_profile_of_ones_own_may_be_json_or_yaml(write: object) -> None:
    assert callable(write)
    text = write(profile_document(PROFILE))
    assert profile_from_text(text, where="ConfigMap mine, key profile.json") == PROFILE


def test_an_exponent_of_json_is_a_number() -> None:
    text = json.dumps(profile_document(PROFILE)).replace("100000000000.0", "1e11")
    assert "1e11" in text
    assert profile_from_text(text, where="x").transfer_bandwidth == 1e11


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{", "must be JSON or YAML", id="neither"),
        pytest.param("a sentence", "must be an object, got 'a sentence'", id="text"),
        pytest.param("{}", "profile.decode is missing", id="empty"),
    ],
)
def test_an_unreadable_profile_names_the_config_map(text: str, words: str) -> None:
    with pytest.raises(InvalidSpec, match=f"^ConfigMap mine, key p.*{words}"):
        profile_from_text(text, where="ConfigMap mine, key p")


def test_every_model_of_the_forecaster_can_be_asked_for() -> None:
    assert set(get_args(ForecastSettings.model_fields["model"].annotation)) == {AUTO, *MODELS}
