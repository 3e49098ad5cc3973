"""``decoder_kv_blocks_ttl``: taken from what sessions do, but never a reason to replace a pod."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import read
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults
from pdscale.kube.pinning import DEFAULT, LEAST, MOST, SHAPE, TTL, in_force
from pdscale.perf.builtin import BUILTIN

Json = dict[str, Any]
VLLM = {"engine": {"type": "vLLM", "image": "vllm/vllm-openai:test"}}
PAUSES = st.one_of(st.none(), st.floats(0, 1e6))


def pools(spec: Json, live: Json, pause: float | None) -> dict[str, Json]:
    """The Deployments of both roles by name."""
    body = merged(GOOD, {"metadata": {"uid": "u-1", "namespace": "team"}, "spec": spec})
    found = render(
        read(body),
        profile=BUILTIN["llama-2-70b-a100-tp8-2023"],
        defaults=Defaults("router:test"),
        live=live,
        observed_pause=pause,
    )
    return {m["metadata"]["name"]: m for m in found if m["kind"] == "Deployment" and "decode" in str(m)}


def kept(deployment: Json) -> int:
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    config = json.loads(arguments[arguments.index("--kv-transfer-config") + 1])
    seconds: int = config["kv_connector_extra_config"]["decoder_kv_blocks_ttl"]
    return seconds


@given(st.lists(PAUSES, min_size=2, max_size=6), st.sampled_from([{}, VLLM]))
def test_a_changed_pause_never_changes_the_template_of_a_running_pool(
    pauses: list[float | None], spec: Json
) -> None:
    live = pools(spec, {}, pauses[0])
    for pause in pauses[1:]:
        again = pools(spec, live, pause)
        assert again == live
        live = again


@given(PAUSES, PAUSES)
def test_nor_that_of_a_pool_from_before_it_was_known(before: float | None, now: float | None) -> None:
    old = pools({}, {}, None)
    for deployment in old.values():
        deployment["metadata"].pop("annotations", None)
    first = pools({}, old, before)
    then = pools({}, first, now)
    for name in ("chat-prefill", "chat-decode"):
        assert (
            first[name]["spec"]["template"] == then[name]["spec"]["template"] == old[name]["spec"]["template"]
        )


@given(PAUSES)
def test_whatever_is_observed_stays_within_its_bounds(pause: float | None) -> None:
    found = kept(pools({}, {}, pause)["chat-decode"])
    assert LEAST <= found <= MOST
    assert pause is not None or found == DEFAULT


def test_a_pool_that_changes_anyhow_takes_what_is_observed() -> None:
    live = pools({}, {}, 45.0)
    assert kept(live["chat-decode"]) == 45
    changed = pools({"engine": {"image": "engine:2"}}, live, 120.0)
    assert kept(changed["chat-decode"]) == kept(changed["chat-prefill"]) == 120
    assert kept(pools({"engine": {"image": "engine:2"}}, changed, 200.0)["chat-decode"]) == 120


def test_a_pool_that_changes_while_nothing_is_observed_keeps_what_it_has() -> None:
    live = pools({}, {}, 45.0)
    assert kept(pools({"engine": {"image": "engine:2"}}, live, None)["chat-decode"]) == 45


def test_one_role_that_changes_leaves_the_other_alone() -> None:
    live = pools({}, {}, 45.0)
    more = {"decode": {"podTemplate": {"metadata": {"labels": {"a": "b"}}}}}
    changed = pools(more, live, 120.0)
    assert (kept(changed["chat-prefill"]), kept(changed["chat-decode"])) == (45, 120)


def test_what_the_user_says_overrides_and_stays_until_the_next_change() -> None:
    live = pools({}, {}, 45.0)
    said = pools({"engine": {"decoderKvBlocksTtl": "90s"}}, live, 200.0)
    assert kept(said["chat-decode"]) == 90
    assert kept(pools({}, said, 200.0)["chat-decode"]) == 90, "to say nothing any more rolls nothing out"


OVERRIDES = (["--kv-transfer-config", "{}"], ["--kv-transfer-config={}"], ["--kv_transfer_config", "{}"])


@pytest.mark.parametrize(
    "engine",
    [{"type": "SGLang", "image": "s:1"}, {"command": ["mine"]}, *({"args": args} for args in OVERRIDES)],
)
def test_an_engine_without_this_argument_carries_no_note_of_it(engine: Json) -> None:
    spec = {"engine": engine, **({"router": {"placement": "AlwaysRemote"}} if "image" in engine else {})}
    first = pools(spec, {}, 45.0)
    assert TTL not in first["chat-decode"]["metadata"]["annotations"]
    assert pools(spec, first, 90.0) == first


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5"])
def test_an_annotation_that_is_no_number_counts_as_none(text: str) -> None:
    live = {"metadata": {"annotations": {TTL: text, SHAPE: "x"}}}
    assert in_force(live, "x", given=None, observed=200.0) == DEFAULT
