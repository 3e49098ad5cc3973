"""PromQL texts, as pure functions of the names of things and of a window.

Routers and engines carry no labels of ours in the metrics server; what every usual set-up attaches
to a scraped pod is ``namespace`` and ``pod``, and a pod's name begins with its Deployment's. Pod
names are matched as NAME-ROLE-HASH-SUFFIX with neither of the last two containing a dash, so that
``chat`` does not swallow the pods of a neighbour called ``chat-router``.

What ``rate`` does and what it costs:

- It needs two scrapes within its window, hence four scrape intervals at least: one may be lost.
- A *new* series begins for it at its first scraped value: what a new pod counted before its first scrape
  is lost, up to one scrape interval of its traffic. The same holds for a series that appears with its
  first event; exporters should create their series at start. A counter that restarts at zero is
  forgiven, but for what it had counted since the scrape before.
- A rate at ``t`` is the mean of the window before ``t``. With a window longer than the step,
  neighbouring samples share data, and an outage shows up to one window late.
- Where a series begins or breaks off inside the window, ``rate`` divides what it saw by the whole
  window: seen with 4 scrapes a window, a steady 8/s that is no longer scraped reads 5.8, 3.8, nothing,
  and a new 4/s reads 2.1, 3.1, 4. A failing scrape would look like a load that goes away, and one
  unseen front router of two like half the load. So ``history`` gives an instant only where the same
  front routers were seen at both ends of its window, and none restarted in it (``steady``).

A sum over no series at all is no series: no data. A router that had no requests is a zero.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from pdscale.model.pools import Role
from pdscale.model.units import Seconds
from pdscale.prom.pace_queries import paces

MEASURE: Final = "measure"
WINDOW: Final = "$window"  # in a query that a user gives: the window that a rate needs here
NO_OVERRIDES: Final[Mapping[str, str]] = MappingProxyType({})

_ROUTER = "pdscale_router_"
_ENGINE_PROMPT_TOKENS = "vllm:prompt_tokens_by_source_total"
_SGLANG_RUNNING = "sglang:num_running_reqs"
_SCRAPES_PER_WINDOW = 4
_TEXTS = 4096  # that are kept: 6.5 kB each, which the memory of the same history holds anyway

# Fields of ``scaling.history.History`` and the front router's counters that they are rates of.
_FRONT_COUNTERS = {
    "request_rate": "requests_received_total",
    "completed": "completed_total",
    "prompt_tokens": "prompt_tokens_total",
    "uncached_tokens": "uncached_prompt_tokens_total",
    "uncached_tokens_squared": "uncached_prompt_tokens_squared_total",
    "output_tokens": "output_tokens_total",
    "output_tokens_squared": "output_tokens_squared_total",
}


# Where a request on a decode engine can be, by dialect.
_STREAMS: Final = (
    ("vllm:num_requests_running", "vllm:num_requests_waiting"),
    (
        _SGLANG_RUNNING,
        "sglang:num_queue_reqs",
        "sglang:num_decode_prealloc_queue_reqs",
        "sglang:num_decode_transfer_queue_reqs",
    ),
)


def rate_window(*, scrape_interval: Seconds, step: Seconds) -> Seconds:
    """Long enough to survive a lost scrape, and never blind to what happens between two samples."""
    return max(_SCRAPES_PER_WINDOW * scrape_interval, step)


def measures(namespace: str, name: str, *, window: Seconds) -> dict[str, str]:
    """One query for each field of ``scaling.history.History``."""
    rates = {
        measure: f"sum({front_rate(namespace, name, counter, window=window)})"
        for measure, counter in _FRONT_COUNTERS.items()
    }
    return {
        **rates,
        "local_share": local_share(namespace, name, window=window),
        "decode_streams": decode_streams(namespace, name),
        "prefill_requests": f"sum({_ROUTER}inflight_requests{_pods(namespace, _owners(name), place='gate')})",
        "ended_estimates": f"sum({sidecar_rate(namespace, name, 'estimated_uncached_tokens_total', window)})",
        "arrived_tokens": f"sum({sidecar_rate(namespace, name, 'arrived_uncached_tokens_total', window)})",
        "arrived_tokens_squared": (
            f"sum({sidecar_rate(namespace, name, 'arrived_uncached_tokens_squared_total', window)})"
        ),
        **_paces(namespace, name, window),
    }


def history(
    namespace: str,
    name: str,
    *,
    window: Seconds,
    scrape_interval: Seconds,
    overrides: Mapping[str, str] = NO_OVERRIDES,
) -> str:
    """All of ``measures`` in one query, told apart by the label ``measure``, where they are sound.

    Asked one by one, a scrape between two answers would give tokens of more requests than counted.
    ``overrides`` replace queries by measure; whose request rate is not our front router's may not have one,
    so nothing is asked of it then. The text is written once and kept: each tick asks for it.
    """
    return _history(namespace, name, window, scrape_interval, tuple(overrides.items()))


@lru_cache(_TEXTS)
def _history(
    namespace: str,
    name: str,
    window: Seconds,
    scrape_interval: Seconds,
    overrides: tuple[tuple[str, str], ...],
) -> str:
    asked = measures(namespace, name, window=window)
    for measure, query in overrides:
        if measure not in asked:
            raise ValueError(f"queries: {measure} must be one of {', '.join(asked)}")
        asked[measure] = f"({query.replace(WINDOW, duration(window))}\n)"  # a comment ends with its line
    named = " or ".join(
        f'label_replace({query}, "{MEASURE}", "{measure}", "", "")' for measure, query in asked.items()
    )
    if "request_rate" in dict(overrides):
        return named
    sound = steady(namespace, name, window=window, scrape_interval=scrape_interval)
    return f"({named}) and on() ({sound})"


def steady(namespace: str, name: str, *, window: Seconds, scrape_interval: Seconds) -> str:
    """Something where the same front routers were scraped at both ends of the window, else nothing.

    A plain selector alone ends with a scrape that failed, but answers for minutes from before an
    outage of the metrics server itself; a sample within one and a half scrape intervals does not.

    ``rate`` reaches back to the window's begin only if its first sample lies within 1.1 scrape intervals of
    it; a quarter of a second is for scrapes that are late. And a counter that restarted lost what it had
    counted since the scrape before. Of a steady 8/s seen with 4 scrapes a window, the first one lost reads 5,
    a restart 5.3.
    """
    series = f"{_ROUTER}requests_received_total{front(namespace, name)}"
    begin = 1.1 * scrape_interval + 0.25
    recently = duration(1.5 * scrape_interval)
    newest = f"present_over_time({series}[{recently}])"
    oldest = f"present_over_time({series}[{duration(begin)}] offset {duration(window - begin)})"
    before = f"present_over_time({series}[{recently}] offset {duration(window)})"
    seen = (series, newest, oldest, before)
    same = f"count({' and '.join(seen)}) == count({' or '.join(seen)})"
    whole = duration(window + 1.5 * scrape_interval)  # a reset shows between two samples
    return f"{same} and on() sum(resets({series}[{whole}])) == 0"


def front_rate(namespace: str, name: str, counter: str, *, window: Seconds, **labels: str) -> str:
    """Per second and series of the front router; not summed."""
    where = front(namespace, name, **labels)
    return f"rate({_ROUTER}{counter}{where}[{duration(window)}])"


def sidecar_rate(namespace: str, name: str, counter: str, window: Seconds) -> str:
    """Per second and series of the sidecars' counter, whatever roles their pods had; not summed."""
    return f"rate({_ROUTER}{counter}{_pods(namespace, _owners(name), place='sidecar')}[{duration(window)}])"


def local_share(namespace: str, name: str, *, window: Seconds) -> str:
    """Share of uncached prompt tokens that decode engines computed themselves.

    0 / 0, hence NaN, while nobody computes any. By name of the pod: a pod that changed its role
    keeps its name, and is counted with the pool it came from. SGLang's decode engines compute none, ever:
    where they are, the share is known, and known to be zero.
    """
    computed = {"source": "local_compute"}
    decode = _pods(namespace, [f"{name}-{Role.DECODE}"], **computed)
    both = _pods(namespace, [f"{name}-{role}" for role in Role], **computed)
    span = f"[{duration(window)}]"
    none = f"0 * sum({_SGLANG_RUNNING}{_pods(namespace, [f'{name}-{Role.DECODE}'])})"
    return (
        f"sum(rate({_ENGINE_PROMPT_TOKENS}{decode}{span})) / sum(rate({_ENGINE_PROMPT_TOKENS}{both}{span}))"
        f" or {none}"
    )


def _paces(namespace: str, name: str, window: Seconds) -> dict[str, str]:
    prefill = [f"{name}-{Role.PREFILL}"]
    return paces(
        decode=_pods(namespace, [f"{name}-{Role.DECODE}"]),
        prefill=_pods(namespace, prefill),
        computed=_pods(namespace, prefill, source="local_compute"),
        window=duration(window),
    )


def decode_streams(namespace: str, name: str) -> str:
    """Requests on decode engines at an instant, waiting ones included; they show what lengths only guess.

    Of vLLM, or else of SGLang, whose decode engines queue for memory, for the KV and for the batch apart.
    """
    decode = _pods(namespace, [f"{name}-{Role.DECODE}"])
    return " or ".join(
        "(" + " + ".join(f"sum({gauge}{decode})" for gauge in gauges) + ")" for gauges in _STREAMS
    )


def front(namespace: str, name: str, **labels: str) -> str:
    """Label matchers of the front router's own series; its sidecars count the same requests again."""
    return _pods(namespace, [f"{name}-router"], place="front", **labels)


def of_pools(namespace: str, name: str, **labels: str) -> str:
    """Label matchers of what pods of either pool export, as long for a hundred of them as for one."""
    return _pods(namespace, _owners(name), **labels)


def duration(seconds: Seconds) -> str:
    """A PromQL duration: 60 -> ``60s``, 1.5 -> ``1500ms``."""
    if not seconds > 0:
        raise ValueError(f"window must be above 0s, got {seconds}s")
    if float(seconds).is_integer():
        return f"{int(seconds)}s"
    return f"{max(1, round(seconds * 1000))}ms"


def _owners(name: str) -> list[str]:
    return [f"{name}-{role}" for role in Role]


def _pods(namespace: str, deployments: list[str], **labels: str) -> str:
    owners = "|".join(_literal(d) for d in deployments)
    owner = owners if len(deployments) == 1 else f"({owners})"
    exact = "".join(f",{label}={quoted(value)}" for label, value in sorted(labels.items()))
    return f"{{namespace={quoted(namespace)},pod=~{quoted(owner + '-[a-z0-9]+-[a-z0-9]+')}{exact}}}"


def _literal(text: str) -> str:
    """``text`` as a regular expression of RE2 that matches nothing else (which PromQL anchors)."""
    return "".join(c if c.isalnum() or c in "-_" else f"\\{c}" for c in text)


def quoted(text: str) -> str:
    """A PromQL string: backslashes, quotes and line ends escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
