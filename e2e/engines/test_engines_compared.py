"""The emulated engine judged by the real one: answers, events, errors and metrics side by side."""

import re
from pathlib import Path

import pytest

from pdscale.engines.metrics import parse_load
from pdscale.model.cluster import Load
from pdscale.prom import queries
from pdscale_e2e.asking import ask
from pdscale_e2e.engines.addresses import NETWORK
from pdscale_e2e.engines.asks import Pair, shapes
from pdscale_e2e.engines.command import SHORT_LEASES, transfer_config
from pdscale_e2e.engines.emulated import emulated_engines
from pdscale_e2e.engines.figures import figures, read_figures
from pdscale_e2e.engines.on_purpose import Judged, judge
from pdscale_e2e.engines.processes import RealEngine
from pdscale_e2e.engines.shapes import differences, metric_differences
from pdscale_e2e.engines.talk import Client


async def test_what_differs_from_a_real_engine_differs_on_purpose(
    engines: list[RealEngine], client: Client, logs: Path
) -> None:
    prefill, decode, _ = engines
    transfer = transfer_config(**SHORT_LEASES)
    with emulated_engines([f"{NETWORK}.{n}" for n in (21, 22)], transfer=transfer, logs=logs) as urls:
        real = await shapes(client.http, Pair(prefill.url, decode.url))
        emulated = await shapes(client.http, Pair(*urls))
        pages = (decode.figures(), figures(urls[1]))
    found = [(name, line) for name in real for line in differences(real[name], emulated[name])]
    found += [("metrics", line) for line in metric_differences(*pages)]
    judged = judge(found)
    assert judged == Judged(), judged.described()


@pytest.mark.parametrize("number", [0, 1])
def test_the_router_reads_a_real_engines_load(engines: list[RealEngine], number: int) -> None:
    page = ask("GET", f"{engines[number].url}/metrics").decode()
    held = read_figures(page).total("vllm:kv_cache_usage_perc")
    assert parse_load(page, now=1.0) == Load(running=0, waiting=0, kv_usage=held, seen_at=1.0)


def test_every_engine_series_of_our_queries_is_exported(engines: list[RealEngine]) -> None:
    asked = " ".join(
        [
            *queries.measures("ns", "chat", window=60).values(),
            queries.history("ns", "chat", window=60, scrape_interval=15),
        ]
    )
    names = set(re.findall(r"vllm:\w+", asked))
    page = engines[0].figures()
    assert names >= {"vllm:prompt_tokens_by_source_total", "vllm:num_requests_running"}
    for name in names:
        assert page.total(name) >= 0
    assert page.total("vllm:prompt_tokens_by_source_total", source="local_compute") > 0
