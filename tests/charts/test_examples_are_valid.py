"""Every manifest in ``examples/`` is read strictly, planned for, and rendered."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pdscale.api.translate import builtin_profile, policy, profile_from_text, read_strictly
from pdscale.kube.manifests import render
from pdscale.kube.manifests_pod import Defaults

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples").glob("*.yaml"))
Json = dict[str, Any]


def documents(file: Path) -> list[Json]:
    return [d for d in yaml.safe_load_all(file.read_text()) if d]


def deployments() -> list[Any]:
    return [
        pytest.param(document, documents(file), id=f"{file.stem}-{document['metadata']['name']}")
        for file in FILES
        for document in documents(file)
        if document["kind"] == "ServingDeployment"
    ]


def test_each_engine_has_an_example() -> None:
    assert {"emulated", "vllm", "sglang"} <= {file.stem for file in FILES}


@pytest.mark.parametrize(("body", "beside"), deployments())
def test_an_example_is_valid_and_renders(body: Json, beside: list[Json]) -> None:
    found = read_strictly(body)
    source = found.spec.profile
    if source.config_map is None:
        profile = builtin_profile(source.name or "")
    else:
        held = {d["metadata"]["name"]: d["data"] for d in beside if d["kind"] == "ConfigMap"}
        profile = profile_from_text(held[source.config_map.name][source.config_map.key], where="example")
    assert policy(found.spec, profile).gpu_budget == found.spec.gpu_budget
    children = render(found, profile=profile, defaults=Defaults("pdscale/router:test"))
    taken = {(d["kind"], d["metadata"]["name"]) for d in beside}
    assert taken.isdisjoint((m["kind"], m["metadata"]["name"]) for m in children)


@pytest.mark.parametrize(("body", "beside"), deployments())
def test_an_example_names_no_namespace(body: Json, beside: list[Json]) -> None:
    assert all("namespace" not in d["metadata"] for d in [body, *beside])
