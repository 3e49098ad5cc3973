"""Formulae, points and presets of others: their figures come out, and what is wrong is named by its place."""

import copy
import math
from typing import Any

import pytest

from pdscale.perf.builtin import BUILTIN
from pdscale.perf.engine import Engine
from pdscale.perf.place import DocumentError, Place
from pdscale.perf.published import (
    read_bandwidths,
    read_distserve,
    read_dynamo,
    read_engine_fits,
    read_llmd_presets,
)

ENGINE = Engine.of(BUILTIN["llama-3.1-8b-h100"])
FITS: dict[str, Any] = {
    "engines": {
        "llama_h100_tp2": {
            "model": "llama",
            "gpu": "h100",
            "tp": 2,
            "kv_bytes_per_token": 1000,
            "kv_capacity_tokens_estimate": 5000,
            "prefill": [
                {"tokens_up_to": 128, "a_ms": 7.0, "b_ms_per_token": 0.004, "c_ms_per_token_pair": 1e-6},
                {"tokens_up_to": None, "a_ms": -1.0, "b_ms_per_token": 0.02, "c_ms_per_token_pair": 1e-6},
            ],
            "decode": [
                {"batch_up_to": None, "a_ms": 6.0, "b_ms_per_sequence": 0.01, "c_ms_per_context_token": 4e-5}
            ],
        }
    }
}
DISTSERVE: dict[str, Any] = {
    "fits": {
        "distserve": {
            "facebook/opt-13b": {
                "1": {
                    "decoding_large_small_bs_threshold": 95,
                    "prefill": [18.0, 0.1, 7e-6],
                    "decoding_smallbs": [20.0, 6e-4, 0.04],
                    "decoding_largebs": [7.0, 6e-4, 0.16],
                }
            }
        }
    }
}
DYNAMO: dict[str, Any] = {
    "max_kv_tokens": 1000,
    "prefill": {"input_tokens": [100, 200], "ttft_ms": [20, 30]},
    "decode": {"kv_usage": [0.1, 0.5], "context_length": [50, 100], "itl_ms": [4, 5]},
}
PRESETS: dict[str, Any] = {
    "presets": {
        "8b": {
            "max_num_seqs": 16,
            "prefill_overhead": 30,
            "prefill_per_token": 0.25,
            "itl": 12,
            "kv_transfer_constant": 2,
            "kv_transfer_per_token": 0.003,
            "factor_under_load": 2.0,
        }
    }
}
KV: dict[str, Any] = {
    "measured": [{"what": "RoCE", "gbps": 87}],
    "assumed_by_others": [{"what": "NVLink", "gbps": [200, 12.5], "setup_ms": [0.1, 0.5]}],
}


def test_engine_fits_become_profiles() -> None:
    profile = read_engine_fits(Place("f.json", FITS))["llama_h100_tp2"]
    assert profile.prefill_seconds(100, 50) == pytest.approx((7 + 0.4 + 1e-6 * 100 * 100) * 1e-3)
    assert profile.prefill_seconds(1000) == pytest.approx((-1 + 20 + 0.5) * 1e-3)
    assert profile.step_seconds(10, 1000) == pytest.approx((6 + 0.1 + 0.04) * 1e-3)
    assert (profile.kv_capacity, profile.transfer_bandwidth) == (5000, 50e9)
    assert profile.source == "f.json: llama on h100"


def test_distserve_squares_become_pairs() -> None:
    profile = read_distserve(Place("d.json", DISTSERVE))["distserve facebook/opt-13b TP1"]
    # a + b sum(n) + c sum(n^2) of prompts of 1000 and 500 tokens
    expected = 18 + 0.1 * 1500 + 7e-6 * (1000**2 + 500**2)
    assert profile.prefill_batch_seconds([(1000, 0), (500, 0)]) == pytest.approx(expected * 1e-3)
    assert profile.step_seconds(95, 9000) == pytest.approx((20 + 6e-4 * 9000 + 0.04 * 95) * 1e-3)
    assert profile.step_seconds(96, 9000) == pytest.approx((7 + 6e-4 * 9000 + 0.16 * 96) * 1e-3)
    assert profile.kv_capacity == pytest.approx((72e9 - 26e9 - 3e9) / 819_200)


def test_a_negative_square_is_taken_as_none_and_said() -> None:
    odd = copy.deepcopy(DISTSERVE)
    odd["fits"]["distserve"]["facebook/opt-13b"]["1"]["prefill"][2] = -7e-6
    profile = read_distserve(Place("d.json", odd))["distserve facebook/opt-13b TP1"]
    assert profile.prefill[0].per_pair == 0
    assert "its negative c, -7e-06 ms, taken as 0" in profile.source


def test_dynamos_points_give_batches_from_kv_usage() -> None:
    points = read_dynamo(Place("y.json", DYNAMO))
    assert [(p.new, p.seconds) for p in points.prefill] == [(100, 0.02), (200, 0.03)]
    assert [(p.batch, p.context) for p in points.decode] == [(2, 100), (5, 500)]


def test_presets_grow_from_one_sequence_to_the_most() -> None:
    profile = read_llmd_presets(Place("p.json", PRESETS), ENGINE)["8b"]
    assert profile.prefill_seconds(1000) == pytest.approx(0.03 + 0.25)
    assert profile.step_seconds(1, 100) == pytest.approx(0.012)
    assert profile.step_seconds(16, 9000) == pytest.approx(0.024)
    assert profile.transfer_seconds(1000) == pytest.approx(0.002 + 0.003)
    assert profile.max_sequences == 16


def test_bandwidths_say_whether_they_were_measured() -> None:
    first, second = read_bandwidths(Place("kv.json", KV))
    assert (first.rates, first.setup, first.measured) == ((87e9,), None, True)
    assert (second.rates, second.measured) == ((200e9, 12.5e9), False)
    assert second.setup == pytest.approx(3e-4)


def changed(document: dict[str, Any], path: str, value: object) -> Place:
    """The document with the value at a dotted path replaced, or left out if it is ``...``."""
    copied = copy.deepcopy(document)
    *above, last = path.split("/")
    inner: Any = copied
    for key in above:
        inner = inner[int(key)] if isinstance(inner, list) else inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return Place("x.json", copied)


FIT = "engines/llama_h100_tp2"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            f"{FIT}/kv_bytes_per_token",
            ...,
            "engines.llama_h100_tp2.kv_bytes_per_token: is missing; there are: model",
        ),
        (f"{FIT}/tp", "two", "engines.llama_h100_tp2.tp: must be a finite number, got 'two'"),
        (f"{FIT}/tp", True, "tp: must be a finite number, got 'True'"),
        (f"{FIT}/tp", math.inf, "tp: must be a finite number, got 'inf'"),
        (f"{FIT}/model", 8, "model: must be a text, got '8'"),
        (f"{FIT}/prefill/1/a_ms", None, r"prefill[1].a_ms: must be a finite number, got 'None'"),
        (f"{FIT}/prefill/1/b_ms_per_token", -1, r"prefill[1].b_ms_per_token: must be at least 0, got '-1'"),
        (f"{FIT}/decode", {}, "decode: must be a list, got '{}'"),
        (f"{FIT}/decode/0", [], "decode[0]: must be an object, got '[]'"),
    ],
)
def test_a_wrong_engine_fit_is_named_by_its_place(path: str, value: object, says: str) -> None:
    with pytest.raises(DocumentError) as refused:
        read_engine_fits(changed(FITS, path, value))
    assert str(refused.value).startswith("x.json, engines")
    assert says in str(refused.value)


def test_wrong_figures_of_others_are_named_by_their_place() -> None:
    with pytest.raises(DocumentError, match=r"x.json, decode.itl_ms: must be as long as kv_usage, 2"):
        read_dynamo(changed(DYNAMO, "decode/itl_ms", [4]))
    with pytest.raises(DocumentError, match=r"prefill.ttft_ms\[1\]: must be at least 1e-09, got '0'"):
        read_dynamo(changed(DYNAMO, "prefill/ttft_ms", [4, 0]))
    with pytest.raises(DocumentError, match=r"presets.8b.itl: must be at least 0, got '-12'"):
        read_llmd_presets(changed(PRESETS, "presets/8b/itl", -12), ENGINE)
    with pytest.raises(DocumentError, match=r"measured\[0\].what: is missing"):
        read_bandwidths(changed(KV, "measured/0/what", ...))
    with pytest.raises(DocumentError, match=r"x.json, document: must be an object, got '\[\]'"):
        read_bandwidths(Place("x.json", []))


def test_a_model_that_distserve_does_not_have_is_refused() -> None:
    fit = DISTSERVE["fits"]["distserve"]["facebook/opt-13b"]["1"]
    for model, tp in (("facebook/opt-1b", "1"), ("facebook/opt-13b", "one"), ("facebook/opt-13b", "0")):
        with pytest.raises(
            DocumentError, match=r"must be a fit of facebook/opt-13b or facebook/opt-66b under"
        ):
            read_distserve(Place("x.json", {"fits": {"distserve": {model: {tp: fit}}}}))
    short = {**fit, "prefill": [1.0, 2.0]}
    with pytest.raises(DocumentError, match=r"prefill: must be a list of 3 coefficients"):
        read_distserve(Place("x.json", {"fits": {"distserve": {"facebook/opt-13b": {"1": short}}}}))
