"""A profile as a document: complete, strict, and the same after a round trip."""

import json
from typing import Any

import pytest

from pdscale.perf.builtin import BUILTIN
from pdscale.perf.document import InvalidProfile, profile_document, read_profile
from pdscale.perf.profile import Profile

GOOD: dict[str, Any] = {
    "name": "mine",
    "source": "measured",
    "prefill": [[1024, 0.008, 50e-6, 1e-9], [None, 0.0, 60e-6, 1e-9]],
    "decode": [[None, 0.01, 40e-6, 25e-9]],
    "kv_capacity": 400_000,
    "kv_bytes_per_token": 131072,
    "transfer_bandwidth": 25e9,
}


@pytest.mark.parametrize("profile", [pytest.param(p, id=p.name) for p in BUILTIN.values()])
def test_a_built_in_profile_survives_being_written_and_read(profile: Profile) -> None:
    assert read_profile(json.loads(json.dumps(profile_document(profile)))) == profile


def test_times_are_seconds() -> None:
    profile = read_profile(GOOD)
    # 8 ms + 1000 * 50 us + 1000 * 500 * 1 ns = 58.5 ms
    assert profile.prefill_seconds(1000) == pytest.approx(0.0585)
    # 10 ms + 10 * 40 us + 20 000 * 25 ns = 10.9 ms
    assert profile.step_seconds(10, 20_000) == pytest.approx(0.0109)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"name": 3}, "profile.name must be a text, got 3", id="no_text"),
        pytest.param({"prefil": []}, "profile.prefil is unknown", id="misspelt"),
        pytest.param({"prefill": {}}, "profile.prefill must be a list of segments", id="no_list"),
        pytest.param({"decode": [3]}, r"profile.decode segments must be .*, got 3", id="no_row"),
        pytest.param({"kv_capacity": True}, "profile.kv_capacity must be a number, got True", id="no_number"),
        pytest.param({"kv_capacity": 0}, "kv_capacity must be above 0, got 0", id="no_kv"),
    ],
)
def test_a_slip_is_named_with_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_profile({**GOOD, **change})


def test_what_is_no_object_is_no_profile() -> None:
    with pytest.raises(InvalidProfile, match="must be an object, got 'a sentence'"):
        read_profile("a sentence")
