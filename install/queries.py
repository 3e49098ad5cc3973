"""PromQL of the dashboards, for the object that the variables ``$namespace`` and ``$name`` tell.

A query names only what the operator, the routers and the engines export, and what every set-up attaches to a
scraped pod: ``namespace`` and ``pod``. Pods are found by their names, NAME-ROLE-HASH-SUFFIX.
"""

from typing import Final

from pdscale.controller.explain import GOOD_FALSE

_OBJECT: Final = 'namespace="$namespace",name="$name"'
_HASH: Final = "-[a-z0-9]+-[a-z0-9]+"
_WINDOW: Final = "[$__rate_interval]"
_ROLE: Final = f'"role", "$1", "pod", ".+-(prefill|decode){_HASH}"'


def _pods(role: str) -> str:
    return f'namespace="$namespace",pod=~"$name-{role}{_HASH}"'


FRONT: Final = f'{_pods("router")},place="front"'
PODS: Final = _pods("(prefill|decode)")
PREFILL: Final = _pods("prefill")
DECODE: Final = _pods("decode")


def figure(series: str, **labels: str) -> str:
    """A gauge of the operator; for a moment two of them exist when another one leads."""
    more = "".join(f',{label}="{value}"' for label, value in labels.items())
    return f"max(pdscale_operator_{series}{{{_OBJECT}{more}}})"


def conditions() -> dict[str, str]:
    """1 where a condition is as it should be, 0 where it is not: some should not hold, and are told so."""
    against = "|".join(sorted(GOOD_FALSE))
    return {
        "{{type}}": f'max by (type) (pdscale_operator_condition{{{_OBJECT},type!~"{against}"}})',
        "not {{type}}": f'1 - max by (type) (pdscale_operator_condition{{{_OBJECT},type=~"{against}"}})',
    }


def rate(series: str, where: str, *by: str) -> str:
    """Per second, summed over pods."""
    return f"sum{_by(*by)}(rate({series}{{{where}}}{_WINDOW}))"


def quantile(share: float, histogram: str, where: str, *by: str) -> str:
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', where, 'le', *by)})"


def quantiles(histogram: str, where: str) -> dict[str, str]:
    return {f"P{share * 100:.0f}": quantile(share, histogram, where) for share in (0.5, 0.95, 0.99)}


def by_role(series: str, where: str = PODS) -> str:
    """The sum of a gauge over each pool."""
    return f"sum by (role) (label_replace({series}{{{where}}}, {_ROLE}))"


def rate_by_role(series: str, where: str = PODS) -> str:
    return f"sum by (role) (label_replace(rate({series}{{{where}}}{_WINDOW}), {_ROLE}))"


def counted(series: str, where: str, what: str) -> str:
    """Rate of those that are ``what``; zero, and not nothing, while all others are counted."""
    return f"{rate(series, f'{where},{what}')} or 0 * {rate(series, where)}"


def attained(slo: str) -> str:
    """While all requests miss, the series of those that met need not exist; that is a share of zero."""
    series, where = "pdscale_router_slo_requests_total", f'{FRONT},slo="{slo}"'
    met = counted(series, where, 'met="true"')
    return f"({met}) / {rate(series, where)}"


def either(vllm: str, sglang: str) -> str:
    """A deployment has one kind of engine: the other's query gives nothing."""
    return f"{vllm} or {sglang}"


def _by(*labels: str) -> str:
    return f" by ({', '.join(labels)}) " if labels else ""
