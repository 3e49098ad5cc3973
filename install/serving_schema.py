"""The values' schema of the chart of ServingDeployments: the CRD's, said as JSON Schema.

What a structural schema says in OpenAPI's words is said in those of draft 7, and unknown fields are refused,
which the API server would drop in silence. Rules in CEL have no counterpart; the API server judges them.
"""

import json
from pathlib import Path
from typing import Any, Final

import yaml

CRD: Final = Path("charts/pdscale/crds/pdscale.io_servingdeployments.yaml")
PLACE: Final = Path("charts/pdscale-serving/values.schema.json")
_OPEN: Final = "x-kubernetes-preserve-unknown-fields"
_LEFT_OUT: Final = ("format", "exclusiveMinimum", "exclusiveMaximum")
Json = dict[str, Any]


def schema(root: Path) -> str:
    """The text of the chart's ``values.schema.json``."""
    crd = yaml.safe_load((root / CRD).read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    one = _closed({"labels": texts, "annotations": texts, "spec": _draft7(spec)}, required=["spec"])
    values = {
        "global": {"type": "object"},
        "deployments": {"type": "object", "additionalProperties": one},
        "profiles": {"type": "object", "additionalProperties": {"type": "object", "minProperties": 1}},
    }
    return (
        json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **_closed(values)}, indent=2) + "\n"
    )


def _closed(properties: Json, **more: Any) -> Json:
    return {"type": "object", "additionalProperties": False, **more, "properties": properties}


def _draft7(node: Json) -> Json:
    """One node, and what is within it."""
    out = {k: v for k, v in node.items() if not k.startswith("x-kubernetes-") and k not in _LEFT_OUT}
    for bound in ("Minimum", "Maximum"):  # a flag beside the bound there, the bound itself here
        if node.get(f"exclusive{bound}"):
            out[f"exclusive{bound}"] = out.pop(bound.lower())
    if "properties" in node:
        out["properties"] = {name: _draft7(child) for name, child in node["properties"].items()}
        out["additionalProperties"] = bool(node.get(_OPEN))
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = _draft7(node["additionalProperties"])
    if "items" in node:
        out["items"] = _draft7(node["items"])
    return out
