"""Configuration of the operator's process: environment variables become one frozen value, judged once.

Everything that concerns one ServingDeployment is in its spec; here is only what the process itself
needs before it has seen any object.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from pdscale.model.units import Seconds, parse_duration

PREFIX: Final = "PDSCALE_"
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


class InvalidSettings(ValueError):
    """A variable of the environment says something that cannot be meant."""


class LogFormat(StrEnum):
    """How a log record is written."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one operator process.

    ``namespaces`` empty means the whole cluster. ``kubeconfig`` absent means the pod's ServiceAccount, or
    outside a pod the user's own file. ``router_cluster_role`` is the ClusterRole that each
    deployment's routers are bound to. ``prometheus_url`` is the metrics server of those that name none;
    absent means that each must. ``lease`` is the ``NAMESPACE/NAME`` of the Lease that several operators
    elect a writer by; absent means that this one is alone. ``webhook_certificates`` is a directory with the
    ``tls.crt`` and ``tls.key`` of the validating webhook, which is served only where it is named.
    """

    router_image: str = "pdscale-router:latest"
    router_cluster_role: str = "pdscale-router"
    namespaces: tuple[str, ...] = ()
    admin_host: str = "0.0.0.0"
    admin_port: int = 9090
    log_level: str = "info"
    log_format: LogFormat = LogFormat.TEXT
    kubeconfig: str | None = None
    scrape_interval: Seconds = 15.0
    lease: str | None = None
    prometheus_url: str | None = None
    webhook_certificates: str | None = None
    webhook_port: int = 9443

    def __post_init__(self) -> None:
        for name in ("router_image", "router_cluster_role", "admin_host"):
            if not getattr(self, name):
                raise InvalidSettings(f"{_variable(name)} must not be empty")
        for name in ("admin_port", "webhook_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise InvalidSettings(f"{_variable(name)} must be in 0..65535, got {getattr(self, name)}")
        if not self.scrape_interval > 0:
            raise InvalidSettings(
                f"{_variable('scrape_interval')} must be above 0s, got {self.scrape_interval}s"
            )
        if self.prometheus_url is not None and not re.fullmatch(r"https?://[^/\s]\S*", self.prometheus_url):
            raise InvalidSettings(
                f"{_variable('prometheus_url')} must begin with http:// or https://, "
                f"got {self.prometheus_url!r}"
            )
        if self.lease is not None and not re.fullmatch(r"[^/\s]+/[^/\s]+", self.lease):
            raise InvalidSettings(f"{_variable('lease')} must be NAMESPACE/NAME, got {self.lease!r}")
        if self.log_level not in LOG_LEVELS:
            raise InvalidSettings(
                f"{_variable('log_level')} must be one of {', '.join(LOG_LEVELS)}, got {self.log_level!r}"
            )


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Read the ``PDSCALE_*`` variables; one that is empty counts as absent, as charts write them."""
    given = {k.removeprefix(PREFIX).lower(): v for k, v in environ.items() if k.startswith(PREFIX) and v}
    return Settings(**{name: read(given[name]) for name, read in _READERS.items() if name in given})


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({part.strip() for part in text.split(",") if part.strip()}))


def _port(name: str, text: str) -> int:
    if not text.isdecimal():
        raise InvalidSettings(f"{_variable(name)} must be a whole number, got {text!r}")
    return int(text)


def _seconds(text: str) -> Seconds:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidSettings(f"{_variable('scrape_interval')}: {error}") from None


def _format(text: str) -> LogFormat:
    try:
        return LogFormat(text.lower())
    except ValueError:
        known = ", ".join(LogFormat)
        raise InvalidSettings(f"{_variable('log_format')} must be one of {known}, got {text!r}") from None


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "router_image": str,
    "router_cluster_role": str,
    "namespaces": _names,
    "admin_host": str,
    "admin_port": partial(_port, "admin_port"),
    "log_level": str.lower,
    "log_format": _format,
    "kubeconfig": str,
    "scrape_interval": _seconds,
    "lease": str,
    "prometheus_url": str,
    "webhook_certificates": str,
    "webhook_port": partial(_port, "webhook_port"),
}
