"""One grammar for flags and files; whatever is wrong is named."""

from pathlib import Path
from typing import Any

import pytest

from pdscale.model.pools import Targets
from pdscale.scenarios.fields import InvalidScenario
from pdscale.scenarios.reading import read_settings
from pdscale.scenarios.settings import FIELDS, PlacementName, ScalingName
from pdscale.scenarios.tables import told


@pytest.mark.parametrize(
    ("flag", "raw", "says"),
    [
        ("ttft", "2x", r"--ttft: duration must look like 75ms, 30s or 5m, got '2x'"),
        ("ttft", "0s", r"--ttft: must be above 0s, got '0s'"),
        ("load", "1,0", r"--load: must be a number above 0, got '0'"),
        ("load", "nan", r"--load: must be a number above 0, got 'nan'"),
        ("load", "1,1", r"--load: must name nothing twice, got '1,1'"),
        ("prefill", "two", r"--prefill: must be a whole number of at least 0, got 'two'"),
        ("gpus_decode", "0", r"--gpus-decode: must be a whole number of at least 1, got '0'"),
        ("thin", "1.5", r"--thin: must be a number above 0 and at most 1, got '1.5'"),
        (
            "attainment",
            "100%",
            r"--attainment: must be a share between 0 and 1, like 0.95 or 95%, got '100%'",
        ),
        ("bandwidth", "25", r"--bandwidth: must look like 25GB/s or 200Gb/s and be above 0, got '25'"),
        ("excerpt", "9m..3m", r"--excerpt: must begin before it ends, got '9m..3m'"),
        ("excerpt", "9m", r"--excerpt: must be two durations like 10m..40m, got '9m'"),
        ("placement", "Random", r"--placement: must be one of CostBased, .*Colocated, got 'Random'"),
        ("scaling", "VPA", r"--scaling: must be one of Static, .*Clairvoyant, got 'VPA'"),
        ("reject_late", "maybe", r"--reject-late: must be true or false, got 'maybe'"),
        ("decode", "0", r"decode: must be at least 1 replica, got 0"),
        ("max_prefill", "1", r"prefill: must be in min-prefill..max-prefill \(1..1\), got 2; widen"),
        ("min_decode", "20", r"decode: must be in min-decode..max-decode \(20..20\), got 3; widen"),
        ("gpu_budget", "4", r"gpu-budget: must be at least 5, what 2P\+3D hold, got 4; raise it"),
    ],
)
def test_a_mistake_names_flag_value_and_bound(flag: str, raw: str, says: str) -> None:
    with pytest.raises(InvalidScenario, match=says):
        read_settings({flag: raw})


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param("prefil: 2", "prefil is unknown; did you mean prefill?", id="typo"),
        pytest.param("zzz: 2", "zzz is unknown; known are admit, attainment", id="unknown"),
        pytest.param("ttft: 2", "ttft: duration must look like .* got '2'", id="value"),
        pytest.param("fleet: {prefill: 2}\nprefill: 1", "fleet is unknown", id="nested"),
        pytest.param("prefill: {least: 2}", "prefill: must be a value or a list", id="mapping as a value"),
        pytest.param("[1, 2]", "must be a mapping of settings", id="list"),
        pytest.param("a: [", "is not YAML", id="not YAML"),
    ],
)
def test_a_mistake_in_a_file_names_file_and_key(tmp_path: Path, document: str, says: str) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(document)
    with pytest.raises(InvalidScenario, match=says) as refused:
        read_settings({}, file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidScenario, match=r"none\.yaml: cannot be read"):
        read_settings({}, tmp_path / "none.yaml")


def test_a_file_says_the_same_as_flags_and_flags_come_first(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "ttft: 1500ms\nload: [1, 1.5]\nplacement: [ampd, Colocated]\nreject-late: true\nthin: 0.5\n"
        "bandwidth: 200Gb/s\nexcerpt: 1m..2m\nprefill: 4\nscaling:\n"
    )
    flags: dict[str, Any] = {
        "ttft": "1500ms",
        "load": "1,1.5",
        "placement": "AMPD,colocated",
        "reject_late": "true",
        "thin": "0.5",
        "bandwidth": "25GB/s",
        "excerpt": "60s..120s",
        "prefill": "4",
    }
    assert read_settings({}, file) == read_settings(flags)
    assert read_settings({"prefill": "3"}, file).fleet == Targets(3, 3)


def test_what_is_told_of_settings_reads_back() -> None:
    asked = read_settings(
        {
            "placement": "AMPD",
            "load": "0.5,2",
            "excerpt": "1m..2m",
            "seed": "3,4",
            "bandwidth": "200Gb/s",
            "flip": "5s",
        }
    )
    again = {name.replace("-", "_"): text for name, text in told(asked).items()}
    assert read_settings(again) == asked


def test_every_setting_has_a_default_and_a_flag_of_its_own() -> None:
    settings = read_settings({})
    assert settings.fleet == Targets(2, 3)
    assert settings.limits.budget == 20
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    assert PlacementName.COLOCATED in PlacementName
    assert len(ScalingName) == 12
