"""The committed CRD is what the models say, and the generator refuses what a CRD cannot say."""

import copy
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from fakes.bad_specs import GOOD
from pdscale.api import crdgen
from pdscale.api.fields import Model, Rule
from pdscale.api.status import Status
from pdscale.api.structural import NotStructural, structural
from pdscale.api.translate import read
from pdscale.api.v1alpha1 import COLUMNS

ROOT = Path(__file__).parents[2]
SPEC = crdgen.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
STATUS = crdgen.crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]


def test_both_committed_copies_are_up_to_date() -> None:
    assert crdgen.main(["--check", "--root", str(ROOT)]) == 0


def test_a_stale_or_missing_copy_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert crdgen.main(["--write", "--root", str(tmp_path)]) == 0
    assert crdgen.main(["--check", "--root", str(tmp_path)]) == 0
    stale = tmp_path / crdgen.PLACES[1]
    stale.write_text(stale.read_text().replace("minimum: 0", "minimum: 1"))
    (tmp_path / crdgen.PLACES[0]).unlink()
    assert crdgen.main(["--check", "--root", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert all(place in told for place in crdgen.PLACES)


def test_the_file_has_neither_anchors_nor_references() -> None:
    text = crdgen.rendered()
    assert yaml.safe_load(text) == crdgen.crd()
    assert not any(mark in text for mark in ("&id", "*id", "$ref", "$defs", "anyOf", "title:"))


def test_an_object_defaulted_by_the_schema_reads_as_one_defaulted_by_the_models() -> None:
    body = copy.deepcopy(GOOD)
    body["spec"] = _defaulted(body["spec"], SPEC)
    assert body["spec"]["scaling"]["interval"] == "15s"
    assert read(body).spec == read(GOOD).spec
    assert _without_empty(read(GOOD).spec.dump()) == body["spec"]


def test_nothing_in_a_status_appears_by_itself() -> None:
    assert _defaulted({}, STATUS) == {}
    assert "default" not in str(sorted(_keys(STATUS)))


def test_conditions_are_a_map_by_type() -> None:
    conditions = STATUS["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_messages_do_not_convert_numbers_by_string() -> None:
    """The API server takes string(int) for endless and refuses the CRD for its cost; format() is cheap."""
    assert "string(" not in crdgen.rendered().replace("type: string", "")


@pytest.mark.parametrize("column", [pytest.param(c, id=c.name) for c in COLUMNS])
def test_a_printed_column_shows_a_field_that_exists(column: Any) -> None:
    first, *rest = column.path.removeprefix(".").split("[")[0].split(".")
    if first == "metadata":
        return
    schema = {"spec": SPEC, "status": STATUS}[first]
    for name in rest:
        schema = schema["properties"][name]


class Child(Model):
    size: int = 1


class WithRule(Model):
    rules = (Rule(cel="self.size > 0", says="'no'", check=lambda _: None),)
    size: int = 1


class Recursive(BaseModel):
    children: list["Recursive"] = Field(default_factory=list)


class Union(BaseModel):
    either: int | str


class Pair(BaseModel):
    pair: tuple[int, str]


class Money(BaseModel):
    price: Decimal


class Iso(BaseModel):
    wait: timedelta


class Anything(BaseModel):
    anything: Any


class RuleUnderDefault(BaseModel):
    child: WithRule = Field(default_factory=WithRule)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(Recursive, r"Recursive\.children\[\].* within itself", id="recursion"),
        pytest.param(Union, r"Union\.either.*no unions", id="union"),
        pytest.param(Pair, r"Pair\.pair.*prefixItems", id="tuple"),
        pytest.param(Money, r"Money\.price.*no unions", id="decimal"),
        pytest.param(Iso, r"Iso\.wait.*format duration", id="timedelta"),
        pytest.param(Anything, r"Anything\.anything.*exactly one type", id="any"),
        pytest.param(RuleUnderDefault, r"RuleUnderDefault\.child.*one level up", id="rule_under_default"),
    ],
)
def test_what_a_structural_schema_cannot_say_is_refused_by_name(model: type[BaseModel], words: str) -> None:
    with pytest.raises(NotStructural, match=words):
        structural(model)


class Rewritten(BaseModel):
    kind: Literal["only"]
    share: float = Field(gt=0, lt=1)
    names: set[str]
    maybe: int | None = None
    free: dict[str, Any] = Field(default_factory=dict)
    child: Child = Field(default_factory=Child)
    absent: Child | None = None


def test_what_kubernetes_says_in_other_words_is_rewritten() -> None:
    found = structural(Rewritten)["properties"]
    assert found["kind"]["enum"] == ["only"]
    assert (found["share"]["minimum"], found["share"]["exclusiveMinimum"]) == (0, True)
    assert (found["share"]["maximum"], found["share"]["exclusiveMaximum"]) == (1, True)
    assert found["names"]["x-kubernetes-list-type"] == "set"
    assert found["maybe"] == {"type": "integer"}
    assert found["free"] == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert found["child"]["default"] == {}
    assert "default" not in found["absent"]


def test_a_status_is_written_without_nulls() -> None:
    assert Status(observed_generation=1).dump() == {"observedGeneration": 1, "conditions": []}


def _defaulted(value: Any, schema: dict[str, Any]) -> Any:
    """What the API server does on admission: fill in, parents before children."""
    if not isinstance(value, dict):
        return value
    out = dict(value)
    for name, child in schema.get("properties", {}).items():
        if name not in out and "default" in child:
            out[name] = child["default"]
        if name in out:
            out[name] = _defaulted(out[name], child)
    return out


def _without_empty(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _without_empty(v) for key, v in value.items()}
    return {key: v for key, v in inner.items() if v not in ({}, [])}


def _keys(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        found = set(schema) - {"properties"}
        return found.union(*(_keys(child) for child in schema.get("properties", {}).values()))
    return set()
