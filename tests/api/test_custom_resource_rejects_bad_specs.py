"""Every case that the API server must refuse is refused by the models, in the same words."""

from typing import Any

import pytest

from fakes.bad_specs import BAD, GOOD, Bad, merged
from pdscale.api.translate import InvalidSpec, read, read_strictly


@pytest.mark.parametrize("case", [pytest.param(c, id=c.id) for c in BAD])
def test_a_bad_spec_is_refused_with_field_value_and_bound(case: Bad) -> None:
    with pytest.raises(InvalidSpec) as caught:
        read(case.body)
    for words in case.model:
        assert words in str(caught.value)


def test_the_good_spec_is_accepted() -> None:
    assert read(GOOD).metadata.name == "chat"


def test_every_case_has_its_own_name() -> None:
    assert len({c.id for c in BAD}) == len(BAD)


def test_several_mistakes_are_told_at_once() -> None:
    body = merged(GOOD, {"spec": {"model": None, "gpuBudget": 0}})
    with pytest.raises(InvalidSpec, match=r"model is required; spec\.gpuBudget must be above 0, got 0"):
        read(body)


@pytest.mark.parametrize(
    "patch",
    [
        pytest.param({"spec": {"sloo": {}}}, id="top"),
        pytest.param({"spec": {"scaling": {"intervall": "5s"}}}, id="nested"),
        pytest.param({"spec": {"engine": {"env": [{"name": "A", "valu": "1"}]}}}, id="in_a_list"),
    ],
)
def test_a_misspelt_field_is_ignored_when_stored_and_refused_when_written(patch: dict[str, Any]) -> None:
    body = merged(GOOD, patch)
    read(body)
    with pytest.raises(InvalidSpec, match="is not a known field"):
        read_strictly(body)


def test_foreign_pieces_keep_fields_that_only_kubernetes_knows() -> None:
    secret = {"secretKeyRef": {"name": "hub", "key": "token", "optional": True}}
    patch = {
        "engine": {"env": [{"name": "TOKEN", "valueFrom": secret}]},
        "decode": {"podTemplate": {"spec": {"schedulerName": "volcano"}}},
    }
    spec = read_strictly(merged(GOOD, {"spec": patch})).spec
    assert spec.engine.env[0].dump() == {"name": "TOKEN", "valueFrom": secret}
    assert spec.decode.pod_template.spec == {"schedulerName": "volcano"}


def test_a_status_that_a_newer_operator_wrote_does_not_matter() -> None:
    body = merged(GOOD, {"status": {"conditions": "of another shape"}})
    assert read(body).spec == read(GOOD).spec


def test_metadata_that_the_server_adds_is_no_mistake() -> None:
    body = merged(GOOD, {"metadata": {"uid": "u-1", "generation": 3, "managedFields": [{}]}})
    assert read_strictly(body).metadata.uid == "u-1"


@pytest.mark.parametrize("value", [True, "3", 2.5], ids=str)
def test_a_count_of_another_type_is_not_coerced(value: object) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.decode\.maxReplicas.*integer"):
        read(merged(GOOD, {"spec": {"decode": {"maxReplicas": value}}}))
