"""The pages to install, upgrade and be woken by: what they name exists, what they tell to type works."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.bad_specs import GOOD, merged
from pdscale.api.translate import read_strictly
from pdscale_e2e.page import blocks

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHART = ROOT / "charts" / "pdscale"
PAGES = {name: (DOCS / f"{name}.md").read_text() for name in ("install", "operations", "upgrade")}
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
Json = dict[str, Any]
Render = Callable[..., list[Json]]


def yaml_blocks(*, of_objects: bool) -> list[Any]:
    """YAML on the pages that is not told to be another tool's: parts of objects, or values of the chart."""
    found = [
        (name, text)
        for name, page in PAGES.items()
        for text in re.findall(r"```yaml\n(.*?)```", page, flags=re.S)
        if not text.startswith(("# Argo CD", "# Gateway API")) and text.startswith("spec:") == of_objects
    ]
    return [pytest.param(yaml.safe_load(text), id=f"{name}_{i}") for i, (name, text) in enumerate(found)]


def commands(program: str) -> list[Any]:
    lines = (
        line.removeprefix("$ ")
        for page in PAGES.values()
        for block in blocks(page)
        for line in block.script.replace("\\\n", " ").splitlines()
    )
    return [line for line in lines if line.startswith(f"{program} ")]


@pytest.mark.parametrize("part", yaml_blocks(of_objects=True))
def test_a_part_of_an_object_on_a_page_is_valid(part: Json) -> None:
    assert read_strictly(merged(GOOD, part)).spec


@pytest.mark.parametrize("values", yaml_blocks(of_objects=False))
def test_values_on_a_page_are_valid_and_render(render: Render, values: Json) -> None:
    assert render(**values)


def test_switches_on_a_command_line_are_values_of_the_chart(render: Render) -> None:
    given = [pair for line in commands("helm") for pair in re.findall(r"--set (\S+?)=(\S+)", line)]
    assert given
    for path, text in given:
        value: Any = yaml.safe_load(text)
        for key in reversed(path.split(".")):
            value = {key: value}
        assert render(**value)


def test_a_value_that_is_named_in_the_text_exists() -> None:
    named = {
        path
        for page in PAGES.values()
        for path in re.findall(r"`([a-zA-Z]+\.[a-zA-Z.]+)(?:: [^`]*)?`", page)
        if path.split(".")[0] in VALUES and not _of_the_object(path)
    }
    assert len(named) >= 6
    for path in named:
        found: Any = VALUES
        for key in path.split("."):
            assert key in found, path
            found = found[key]


@cache
def _spec_of_the_object() -> Json:
    crd = yaml.safe_load((ROOT / "crds" / "pdscale.io_servingdeployments.yaml").read_text())
    spec: Json = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def _of_the_object(path: str) -> bool:
    """``router`` and ``prometheus`` are fields of a ServingDeployment, too."""
    field: Any = _spec_of_the_object()
    for key in path.split("."):
        field = field.get("properties", {}).get(key)
        if field is None:
            return False
    return True


@pytest.mark.parametrize("name", list(PAGES))
def test_files_that_a_page_names_exist(name: str) -> None:
    named = set(re.findall(r"\b(?:install|charts|examples|crds)/[\w./*-]*[\w*]", PAGES[name]))
    assert [path for path in named if not list(ROOT.glob(path))] == []


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    section = PAGES["operations"].partition("## Alerts")[2].partition("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, flags=re.M) == [rule["alert"] for rule in ALERTS]


def test_an_alert_links_its_runbook(render: Render) -> None:
    (found,) = (m for m in render(prometheusRule={"enabled": True}) if m["kind"] == "PrometheusRule")
    linked = {
        rule["alert"]: rule["annotations"]["runbook_url"]
        for group in found["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert linked == {r["alert"]: f"docs/operations.md#{r['alert'].lower()}" for r in ALERTS}


def test_an_alert_waits_and_says_who_how_bad_and_what() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert re.fullmatch(r"[1-9]\d*[mh]", rule["for"]), rule["alert"]


def test_the_table_of_rights_is_the_role(render: Render) -> None:
    rows = re.findall(r"^\| (`[^|]+) \| ([a-z, ]+) \| [^|]+ \|$", PAGES["install"], flags=re.M)
    told = {}
    for resource, verbs in rows:
        parts = re.findall(r"`([^`]+)`", resource)
        told[("" if len(parts) == 1 else parts[0], parts[-1])] = set(verbs.split(", "))
    (role,) = (m for m in render() if m["kind"] == "ClusterRole" and m["metadata"]["name"] == "pdscale")
    assert told == {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_secrets_are_read_only_where_the_values_say_so(render: Render) -> None:
    def rights(found: list[Json]) -> list[list[str]]:
        (role,) = (m for m in found if m["kind"] == "ClusterRole" and m["metadata"]["name"] == "pdscale")
        return [rule["verbs"] for rule in role["rules"] if "secrets" in rule["resources"]]

    assert rights(render()) == []
    assert rights(render(prometheus={"readSecrets": True})) == [["get"]]
