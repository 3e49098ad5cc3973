from typing import Any

import pytest

from pdscale.perf.document import InvalidProfile, read_profile

DOCUMENT: dict[str, Any] = {
    "name": "mine",
    "source": "measured",
    "prefill": [[128, 0.01, 1e-5, 0], [None, 0.02, 1e-5, 1e-9]],
    "decode": [[None, 0.01, 0, 0]],
    "kv_capacity": 1600,
    "kv_bytes_per_token": 1000,
    "transfer_bandwidth": 1e9,
}


def test_a_document_is_a_profile() -> None:
    profile = read_profile(DOCUMENT)
    assert profile.prefill_seconds(128) == pytest.approx(0.01128)
    assert profile.max_sequences == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": 1}, "profile.speed is unknown; known are decode, kv_"),
        ({"kv_capacity": "big"}, "profile.kv_capacity must be a number, got 'big'"),
        ({"kv_capacity": True}, "profile.kv_capacity must be a number, got True"),
        ({"name": 7}, "profile.name must be a text, got 7"),
        ({"decode": {}}, "profile.decode must be a list of segments"),
        ({"decode": [[None, 1, 2]]}, r"profile.decode segments must be \[up_to or null"),
        ({"decode": [["x", 1, 2, 3]]}, "profile.decode segments must end at a number or null"),
        ({"decode": [[5, 1, 2, 3]]}, "decode must end with an open segment"),
        ({"kv_capacity": -1}, "kv_capacity must be above 0, got -1"),
    ],
)
def test_a_bad_document_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_profile({**DOCUMENT, **change})


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidProfile, match=r"profile\.source is missing"):
        read_profile({k: v for k, v in DOCUMENT.items() if k != "source"})


def test_a_document_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidProfile, match="profile must be an object"):
        read_profile([])
