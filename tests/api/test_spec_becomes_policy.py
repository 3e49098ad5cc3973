"""From the custom resource to what the autoscaler knows, and profiles from their two sources."""

import json

import pytest
import yaml

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import InvalidSpec, builtin_profile, policy, profile_from_text, read
from pdscale.model.pools import Bounds, GpusPerReplica
from pdscale.model.slo import SLO
from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import profile_document
from pdscale.scaling.policy import Mode, Policy

PROFILE = BUILTIN["llama-2-70b-a100-tp8-2023"]


def test_defaults_of_the_resource_are_those_of_the_policy() -> None:
    found = policy(read(GOOD).spec, PROFILE)
    assert found == Policy(
        slo=SLO(ttft=2.0, tpot=0.075),
        prefill=Bounds(1, 4),
        decode=Bounds(1, 4),
        gpus=GpusPerReplica(8, 8),
        gpu_budget=64,
        profile=PROFILE,
    )


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
