"""PromQL texts, as pure functions of the names of things and of a window.

Routers and engines carry no labels of ours in the metrics server; what every usual set-up attaches
to a scraped pod is ``namespace`` and ``pod``, and a pod's name begins with its Deployment's. Pod
names are matched as NAME-ROLE-HASH-SUFFIX with neither of the last two containing a dash, so that
``chat`` does not swallow the pods of a neighbour called ``chat-router``.

What ``rate`` does and what it costs:

- It needs two scrapes within its window, hence four scrape intervals at least: one may be lost.
- It forgives counters that restart at zero, but a *new* series begins for it at its first scraped
  value: what a new pod counted before its first scrape is lost, up to one scrape interval of its
  traffic. The same holds for a series that appears with its first event; exporters should create
  their series at start.
- A rate at ``t`` is the mean of the window before ``t``. With a window longer than the step,
  neighbouring samples share data, and an outage shows up to one window late; ``freshness`` tells
  sooner.
- Where a series begins or breaks off inside the window, ``rate`` divides what it saw by the whole
  window: seen with 4 scrapes a window, a steady 8/s that is no longer scraped reads 5.8, 3.8, nothing,
  and a new 4/s reads 2.1, 3.1, 4. A failing scrape would look like a load that goes away, and one
  unseen front router of two like half the load. So ``history`` gives an instant only where the same
  front routers were seen at both ends of its window (``steady``).

A sum over no series at all is no series: no data. A router that had no requests is a zero.
"""

from pdscale.model.pools import Role
from pdscale.model.units import Seconds

MEASURE = "measure"

_ROUTER = "pdscale_router_"
_ENGINE_PROMPT_TOKENS = "vllm:prompt_tokens_by_source_total"
_SCRAPES_PER_WINDOW = 4

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
    }


def history(namespace: str, name: str, *, window: Seconds, scrape_interval: Seconds) -> str:
    """All of ``measures`` in one query, told apart by the label ``measure``, where they are sound.

    Asked one by one, a scrape between two answers would give tokens of more requests than counted.
    """
    named = " or ".join(
        f'label_replace({query}, "{MEASURE}", "{measure}", "", "")'
        for measure, query in measures(namespace, name, window=window).items()
    )
    sound = steady(namespace, name, window=window, scrape_interval=scrape_interval)
    return f"({named}) and on() ({sound})"


def steady(namespace: str, name: str, *, window: Seconds, scrape_interval: Seconds) -> str:
    """Something where the front routers scraped now are those scraped a window ago, else nothing.

    A plain selector alone ends with a scrape that failed, but answers for minutes from before an
    outage of the metrics server itself; a sample within one and a half scrape intervals does not.
    """
    series = f"{_ROUTER}requests_received_total{front(namespace, name)}"
    recent = f"present_over_time({series}[{duration(1.5 * scrape_interval)}]"
    seen = (series, f"{recent})", f"{recent} offset {duration(window)})")
    return f"count({' and '.join(seen)}) == count({' or '.join(seen)})"


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
    keeps its name, and is counted with the pool it came from.
    """
    computed = {"source": "local_compute"}
    decode = _pods(namespace, [f"{name}-{Role.DECODE}"], **computed)
    both = _pods(namespace, [f"{name}-{role}" for role in Role], **computed)
    span = f"[{duration(window)}]"
    return (
        f"sum(rate({_ENGINE_PROMPT_TOKENS}{decode}{span})) / sum(rate({_ENGINE_PROMPT_TOKENS}{both}{span}))"
    )


def decode_streams(namespace: str, name: str) -> str:
    """Requests on decode engines at an instant, waiting ones included; they show what lengths only guess."""
    decode = _pods(namespace, [f"{name}-{Role.DECODE}"])
    return f"sum(vllm:num_requests_running{decode}) + sum(vllm:num_requests_waiting{decode})"


def attainment(namespace: str, name: str, *, window: Seconds, slo: str = "both") -> str:
    """Share of requests that met their ``slo`` (``ttft``, ``tpot`` or ``both``).

    NaN while no request ended. When every request missed, the series of those that met may not
    exist yet; that is a share of zero and must not look like missing data.
    """
    counter = "slo_requests_total"
    met = front_rate(namespace, name, counter, window=window, slo=slo, met="true")
    everything = front_rate(namespace, name, counter, window=window, slo=slo)
    return f"(sum({met}) or 0 * sum({everything})) / sum({everything})"


def latency_quantile(namespace: str, name: str, histogram: str, *, quantile: float, window: Seconds) -> str:
    """``histogram`` is ``time_to_first_token_seconds`` or ``time_per_output_token_seconds``."""
    buckets = front_rate(namespace, name, f"{histogram}_bucket", window=window)
    return f"histogram_quantile({quantile}, sum by (le) ({buckets}))"


def freshness(namespace: str, name: str) -> str:
    """Seconds since the newest scrape of any front router, by the metrics server's own clock.

    No data once the newest is older than the server's look-back (5 minutes unless configured).
    """
    return f"time() - max(timestamp({_ROUTER}requests_received_total{front(namespace, name)}))"


def front(namespace: str, name: str, **labels: str) -> str:
    """Label matchers of the front router's own series; its sidecars count the same requests again."""
    return _pods(namespace, [f"{name}-router"], place="front", **labels)


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
