"""What can be asked of ``pdscale forecast`` and ``pdscale backtest``: flags to one frozen value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pdscale.model.units import Seconds, parse_duration
from pdscale.prom.access import Access, Basic, Bearer, Tls
from pdscale.prom.survey import Figure
from pdscale.scenarios.credentials import bearer, content
from pdscale.scenarios.fields import (
    Field,
    InvalidScenario,
    count,
    flag,
    given_flags,
    number,
    one_of,
    parsed,
    path,
    several,
    text,
)

_MINUTE: Final = 60.0
_DAY: Final = 86_400.0


def _span(raw: str) -> Seconds:
    """A duration in which days may come first: ``14d``, ``1d12h``."""
    found = re.fullmatch(r"(?:([0-9]+)d)?(.*)", raw)
    days, rest = (found[1], found[2]) if found else (None, raw)
    seconds = _DAY * int(days or 0) + (parse_duration(rest) if rest or not days else 0.0)
    if not seconds > 0:
        raise ValueError(f"must be above 0s, got {raw!r}")
    return seconds


def _whole_seconds(raw: str) -> Seconds:
    seconds = _span(raw)
    if not seconds.is_integer():
        raise ValueError(f"must be a whole number of seconds, got {raw!r}")
    return seconds


SOURCE: Final = (
    flag("prometheus", text, None, "URL", "metrics server to read, such as http://prometheus:9090"),
    flag("select", text, "", "MATCHERS", "which of its series, such as 'namespace=\"prod\"'"),
    flag("query", text, None, "PROMQL", "your own query of one series instead of --figure"),
    flag("figure", one_of(Figure), Figure.REQUESTS, "NAME", f"{', '.join(Figure)}, per second"),
    flag("history", _span, 14 * _DAY, "TIME", "how much of the past is read [14d]"),
    flag("step", _whole_seconds, None, "TIME", "distance of samples [1m; a file's own windows]"),
    flag("bearer-file", path, None, "FILE", "holds a token for the metrics server"),
    flag("basic-file", path, None, "FILE", "holds USER:PASSWORD for it"),
    flag("ca-file", path, None, "FILE", "authorities to trust instead of the public ones, PEM"),
    flag("cert-file", path, None, "FILE", "our certificate, PEM"),
    flag("key-file", path, None, "FILE", "its key, PEM"),
    flag("timeout", _span, 30.0, "TIME", "longest wait for one page of an answer [30s]"),
)
LEADS: Final = flag(
    "lead",
    several(_span),
    (_MINUTE, 5 * _MINUTE, 10 * _MINUTE),
    "TIME[,TIME]",
    "how far ahead: start-up plus control interval is what counts [1m,5m,10m]",
)
SEASON: Final = flag(
    "season", _span, None, "TIME", "length of the load's season [a day, from two of them on]"
)
FORECAST: Final = (
    *SOURCE,
    flag("trace", path, None, "PATH", "request table or rate series instead of --prometheus"),
    LEADS,
    SEASON,
    flag("quantile", number(least=0.5, most=0.999), 0.9, "SHARE", "upper end of the band"),
    flag("model", text, "Auto", "NAME", "of the forecaster; Auto takes what did best on this series"),
)
BACKTEST: Final = (
    *SOURCE,
    LEADS,
    SEASON,
    flag("models", several(text), (), "NAME[,NAME]", "of the forecaster [all]"),
    flag("origins", count(least=10), 500, "N", "forecasts per lead time"),
    flag("skip", number(above=0, most=0.95), 0.5, "SHARE", "of the history that only teaches"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """The fields above; those that one command does not have keep their defaults."""

    prometheus: str | None = None
    trace: Path | None = None
    select: str = ""
    query: str | None = None
    figure: Figure = Figure.REQUESTS
    history: Seconds = 14 * _DAY
    step: Seconds | None = None
    bearer_file: Path | None = None
    basic_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    timeout: Seconds = 30.0
    lead: tuple[Seconds, ...] = (_MINUTE,)
    season: Seconds | None = None
    quantile: float = 0.9
    model: str = "Auto"
    models: tuple[str, ...] = ()
    origins: int = 500
    skip: float = 0.5

    def __post_init__(self) -> None:
        if (self.prometheus is None) == (self.trace is None):
            given = "neither" if self.trace is None else "both"
            raise InvalidScenario(f"one of --prometheus URL and --trace PATH is needed, got {given}")
        if self.trace is not None and (self.query or self.select):
            raise InvalidScenario("--query and --select choose among series of --prometheus, not of a file")
        if self.bearer_file is not None and self.basic_file is not None:
            raise InvalidScenario("--bearer-file and --basic-file: give one of them")

    @property
    def access(self) -> Access:
        """How the metrics server is reached; files are read here."""
        assert self.prometheus is not None
        files = {"--ca-file": self.ca_file, "--cert-file": self.cert_file, "--key-file": self.key_file}
        ca, certificate, key = (content(name, file) for name, file in files.items())
        credentials = self._credentials()
        if (certificate is None) != (key is None):
            raise InvalidScenario("--cert-file and --key-file must be given together, got one of them")
        tls = Tls(ca, certificate, key) if ca is not None or certificate is not None else None
        try:
            return Access(self.prometheus, credentials, tls, timeout=self.timeout)
        except ValueError as error:
            raise InvalidScenario(f"--prometheus: {error}") from error

    def _credentials(self) -> Bearer | Basic | None:
        pair = content("--basic-file", self.basic_file)
        if pair is None:
            return bearer(self.bearer_file)
        name, colon, password = pair.strip().partition(":")  # so that no name has a colon
        if not colon:
            raise InvalidScenario(f"--basic-file {self.basic_file}: must hold USER:PASSWORD")
        return Basic(name, password)


def asked(fields: tuple[Field, ...], flags: Mapping[str, Any], **more: Any) -> Asked:
    """``flags`` has texts by attribute name, ``None`` where a flag was not given."""
    return Asked(**{**parsed(fields, given_flags(fields, flags)), **more})
