"""Conditions keep their time, patches carry only what differs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.kube_fields import merge_patch
from pdscale.kube.status import Condition, difference, merged, timestamp

UP = Condition("Ready", True, "PoolsReady", "all there")
DOWN = Condition("Ready", False, "PoolsNotReady", "0 of 1")


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = merged([], [DOWN], generation=1, at=0)
    assert first[0]["lastTransitionTime"] == "1970-01-01T00:00:00Z"
    again = Condition("Ready", False, "RouterNotReady", "no router")
    second = merged(first, [again], generation=2, at=60)
    assert second[0] | {} == first[0] | {
        "reason": "RouterNotReady",
        "message": "no router",
        "observedGeneration": 2,
    }
    third = merged(second, [UP], generation=2, at=120)
    assert (third[0]["status"], third[0]["lastTransitionTime"]) == ("True", timestamp(120))


def test_a_condition_that_nobody_reports_any_more_goes() -> None:
    stored = merged([], [UP, Condition("Old", None, "Unknown")], generation=1, at=0)
    assert [c["type"] for c in merged(stored, [UP], generation=1, at=1)] == ["Ready"]


def test_no_opinion_is_unknown_and_not_false() -> None:
    assert merged([], [Condition("Ready", None, "Paused")], generation=1, at=0)[0]["status"] == "Unknown"


@pytest.mark.parametrize("reason", ["", "not ready", "notReady", "Not-Ready"])
def test_a_reason_must_be_camel_case(reason: str) -> None:
    with pytest.raises(ValueError, match="reason must be CamelCase"):
        Condition("Ready", True, reason)


def test_nothing_to_say_is_an_empty_patch() -> None:
    status = {"prefill": {"ready": 1}, "conditions": merged([], [UP], generation=1, at=0)}
    assert difference(status, status) == {}


def test_lists_are_sent_whole_and_lost_fields_as_null() -> None:
    stored = {"forecast": {"model": "Level"}, "prefill": {"ready": 1, "desired": 2}, "conditions": [1, 2]}
    wanted = {"prefill": {"ready": 2, "desired": 2}, "conditions": [1, 3]}
    assert difference(stored, wanted) == {
        "forecast": None,
        "prefill": {"ready": 2},
        "conditions": [1, 3],
    }


_json = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)
_objects = st.dictionaries(st.text(max_size=2), _json, max_size=4)


@given(_objects, _objects)
def test_the_patch_leads_from_one_to_the_other(stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert merge_patch(stored, difference(stored, wanted)) == wanted
