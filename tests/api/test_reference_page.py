"""The reference page says of every field what the API server knows of it."""

from pdscale.api.crdgen import crd
from pdscale.api.reference import page

SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
TEXT = page(SCHEMA)


def test_every_field_of_the_spec_has_a_row_in_the_table_of_its_object() -> None:
    sections = {part.split("\n", 1)[0]: part for part in TEXT.split("\n## ")[1:]}
    assert "| `gpuBudget` | integer, > 0, <= 10000000 | **required** |" in sections["spec"]
    assert "| `ttft` | duration, >= 1ms, <= 1h | **required** |" in sections["spec.slo"]
    assert "| `mode` | `Auto`, `Recommend`, `Approve`, `Paused` | `Auto` |" in sections["spec.scaling"]
    for name, field in SCHEMA["properties"]["spec"]["properties"].items():
        if "properties" in field:
            (section,) = (text for path, text in sections.items() if f"spec.{name}" in path.split(", "))
            assert all(f"| `{inner}` |" in section for inner in field["properties"])


def test_rules_across_fields_are_told_where_they_hold() -> None:
    assert "- `self.minReplicas <= self.maxReplicas`" in TEXT


def test_two_pools_of_one_shape_are_told_once() -> None:
    assert TEXT.count("\n## spec.prefill, spec.decode\n") == 1
    assert "\n## spec.decode\n" not in TEXT


def test_a_bar_in_a_description_does_not_end_its_cell() -> None:
    fields = {"a": {"type": "string", "description": "one | other"}}
    root = {"properties": {"spec": {"type": "object", "properties": fields}, "status": {}}}
    assert "| `a` | string |  | one \\| other |" in page(root)
