"""No alert, panel or example names a series or a label that none of our programs prints."""

import asyncio
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from fakes import exports

CHART = Path(__file__).parents[2] / "charts" / "pdscale"
ALERTS = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
DASHBOARDS = [json.loads(f.read_text()) for f in sorted((CHART / "files" / "dashboards").glob("*.json"))]
# What every scrape attaches, whatever finds the pods.
OF_THE_SCRAPE = {"namespace", "pod", "instance", "job"}
OURS = re.compile(r"\b(?:pdscale|vllm|sglang)[:_][a-z0-9_:]+")
SELECTOR = re.compile(rf"({OURS.pattern})\{{([^}}]*)\}}")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
# Series that lie (docs/design/008-install.md).
LIARS = ("vllm:prompt_tokens_total", "vllm:request_prefill_kv_computed_tokens", "vllm:time_to_first_token")

Series = dict[str, set[str]]


@pytest.fixture(scope="module")
def exported() -> Series:
    """Label names by the name of a series."""
    found: Series = defaultdict(set)
    pages = [exports.operator_page(), *asyncio.run(_served())]
    for page in pages:
        for family in text_string_to_metric_families(page.text):
            for sample in family.samples:
                found[sample.name] |= set(sample.labels)
    return found


async def _served() -> list[exports.Page]:
    return [*await exports.data_plane(), *await exports.sglang_engines()]


def queries() -> list[object]:
    rules = [(r.get("alert") or r["record"], r["expr"]) for group in ALERTS for r in group["rules"]]
    panels = [
        (f"{d['uid']}: {p['title']} {t['refId']}", t["expr"])
        for d in DASHBOARDS
        for p in d["panels"]
        for t in p["targets"]
    ]
    keda = [
        (f"KEDA: {d['metadata']['name']}", trigger["metadata"]["query"])
        for d in yaml.safe_load_all((CHART.parents[1] / "examples" / "keda.yaml").read_text())
        for trigger in d["spec"]["triggers"]
    ]
    return [pytest.param(query, id=name) for name, query in rules + panels + keda]


def recorded() -> set[str]:
    return {r["record"] for group in ALERTS for r in group["rules"] if "record" in r}


@pytest.mark.parametrize("query", queries())
def test_every_series_and_label_of_a_query_is_exported(query: str, exported: Series) -> None:
    named = set(OURS.findall(query)) - recorded()
    assert named - set(exported) == set()
    for series, matchers in SELECTOR.findall(query):
        assert set(MATCHER.findall(matchers)) <= exported[series] | OF_THE_SCRAPE, series


def test_no_query_believes_a_series_that_lies() -> None:
    texts = [param.values[0] for param in queries()]  # type: ignore[attr-defined]
    assert [(liar, text) for liar in LIARS for text in texts if liar in text] == []


def test_the_check_itself_would_find_a_slip(exported: Series) -> None:
    assert "pdscale_router_no_such_total" not in exported
    assert SELECTOR.findall('rate(vllm:generation_tokens_total{pod=~"a"}[1m])')
    assert "place" in exported["pdscale_router_slo_requests_total"]
