"""What a metrics server knows of a service before anything of ours is installed, and how to ask for it.

Three exporters are known, the most exact first: our front routers count what arrives; engines of vLLM and
SGLang count what has ended, and a prefill leg of a split service counts as a request of its own. Where
several are there, the first is taken. Unlike the operator's own queries these do not ask whether the same
pods are seen at both ends of a window, since fleets that resize themselves would hardly ever pass: a failing
scrape looks like a load that goes away for as long as one window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.prom.client import PrometheusHistory
from pdscale.prom.queries import duration, rate_window

# Longer than any outage that somebody would call one, short enough to cost nothing.
_LATELY: Final[Seconds] = 3600.0


class Figure(StrEnum):
    """What can be forecast of a service, per second."""

    REQUESTS = "requests"
    INPUT = "input-tokens"
    OUTPUT = "output-tokens"
    PROMPT = "prompt-tokens"


@dataclass(frozen=True, slots=True)
class Wording:
    """One exporter's series. ``rates`` are sums of counters, the subtracted ones with a minus in front."""

    exporter: str
    rates: Mapping[Figure, tuple[str, ...]]
    matchers: str = ""

    @property
    def counter(self) -> str:
        """The counter whose presence tells the exporter's."""
        return self.rates[Figure.REQUESTS][0]

    def query(self, figure: Figure, *, select: str, window: Seconds) -> str:
        terms = []
        for term in self.rates[figure]:
            counter, _, own = term.removeprefix("-").partition("|")
            where = ",".join(part for part in (self.matchers, own, select) if part)
            sign = "- " if term.startswith("-") else "+ "
            terms.append(f"{sign}sum(rate({counter}{{{where}}}[{duration(window)}]))")
        whole = " ".join(terms).removeprefix("+ ")
        # Two counters are scraped together and extrapolated apart: their difference may fall below zero.
        return f"clamp_min({whole}, 0)" if len(terms) > 1 else whole


_ROUTER: Final = "pdscale_router_"

WORDINGS: Final = (
    Wording(
        "pdscale routers",
        MappingProxyType(
            {
                Figure.REQUESTS: (f"{_ROUTER}requests_received_total",),
                Figure.INPUT: (f"{_ROUTER}uncached_prompt_tokens_total",),
                Figure.OUTPUT: (f"{_ROUTER}output_tokens_total",),
                Figure.PROMPT: (f"{_ROUTER}prompt_tokens_total",),
            }
        ),
        'place="front"',
    ),
    Wording(
        "vLLM",
        MappingProxyType(
            {
                Figure.REQUESTS: ("vllm:request_success_total",),
                Figure.INPUT: ('vllm:prompt_tokens_by_source_total|source="local_compute"',),
                Figure.OUTPUT: ("vllm:generation_tokens_total",),
                Figure.PROMPT: ("vllm:prompt_tokens_total",),
            }
        ),
    ),
    Wording(
        "SGLang",
        MappingProxyType(
            {
                Figure.REQUESTS: ("sglang:num_requests_total",),
                Figure.INPUT: ("sglang:prompt_tokens_total", "-sglang:cached_tokens_total"),
                Figure.OUTPUT: ("sglang:generation_tokens_total",),
                Figure.PROMPT: ("sglang:prompt_tokens_total",),
            }
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A wording that the server has series for, and how far its scrapes lie apart."""

    wording: Wording
    select: str
    scrape_interval: Seconds

    def query(self, figure: Figure, *, step: Seconds) -> str:
        window = rate_window(scrape_interval=self.scrape_interval, step=step)
        return self.wording.query(figure, select=self.select, window=window)


async def survey(server: PrometheusHistory, *, select: str = "") -> Found | NoData:
    """The most exact exporter that was scraped within the last hour. ``select`` are label matchers."""
    lately = duration(_LATELY)
    names = "|".join(wording.counter for wording in WORDINGS)
    where = ",".join(part for part in (f'__name__=~"{names}"', select) if part)
    present = await server.instants(
        f"max by (__name__) (last_over_time({{{where}}}[{lately}]))", label="__name__"
    )
    for wording in WORDINGS:
        if wording.counter in present:
            return Found(wording, select, await _scrape_interval(server, wording, select))
    exporters = ", ".join(wording.exporter for wording in WORDINGS)
    among = f" among {{{select}}}" if select else ""
    return NoData(f"{server.url} has no series of {exporters} of the last hour{among}")


async def _scrape_interval(server: PrometheusHistory, wording: Wording, select: str) -> Seconds:
    where = ",".join(part for part in (wording.matchers, select) if part)
    most = await server.instant(f"max(count_over_time({wording.counter}{{{where}}}[{duration(_LATELY)}]))")
    return _LATELY if isinstance(most, NoData) or most < 1 else _LATELY / most
