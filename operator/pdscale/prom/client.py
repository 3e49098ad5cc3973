"""Asks a Prometheus-like server, and answers in the vocabulary of the core.

The library beneath is synchronous, so each call runs in a thread. By itself it has no timeout and,
when refused, tries again for seconds; here it has a timeout and tries once, since the control
loop asks again at its next tick anyhow. The timeout counts twice: on the socket, where it ends the
thread when the server falls silent, and around the call, where it ends the wait for a server that
drips. Neither proxies nor credentials are taken from the environment: they would be configuration
that nobody has judged, and a ``.netrc`` entry would replace the ``Authorization`` header.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import TypeVar

import requests
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect
from urllib3.util.retry import Retry

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.prom import queries
from pdscale.prom.answers import Grid, by_measure, single
from pdscale.prom.errors import MetricsUnavailable
from pdscale.scaling.history import History

_T = TypeVar("_T")

_STATUS = re.compile(r"HTTP Status Code (\d{3})")

# Of the client errors, those that say "not now".
_RETRYABLE = {408, 425, 429}


class PrometheusHistory:
    """One metrics server. Made once per URL, used from one event loop, closed by who made it."""

    def __init__(
        self,
        url: str,
        *,
        timeout: Seconds = 5.0,
        headers: Mapping[str, str] | None = None,
        scrape_interval: Seconds = 15.0,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be above 0s, got {timeout}s")
        if not scrape_interval > 0:
            raise ValueError(f"scrapeInterval must be above 0s, got {scrape_interval}s")
        if not re.match(r"https?://[^/]", url):
            raise ValueError(f"metrics server URL must begin with http:// or https://, got {url!r}")
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._scrape_interval = scrape_interval
        # The server stops working on what nobody waits for any more.
        self._limits = {"timeout": queries.duration(timeout)}
        self._session = requests.Session()
        self._session.trust_env = False
        self._server = PrometheusConnect(
            self.url,
            headers=dict(headers or {}),
            retry=Retry(0),
            session=self._session,
            timeout=timeout,  # type: ignore[arg-type]  # annotated int, handed on to requests as it is
        )

    async def history(
        self, *, namespace: str, name: str, window: Seconds, step: Seconds, now: Seconds
    ) -> History:
        """All measures over the last ``window`` seconds, NaN where the server knows nothing."""
        grid = Grid.ending(now, window=window, step=step)
        over = queries.rate_window(scrape_interval=self._scrape_interval, step=step)
        result = await self._ask(
            lambda: self._server.custom_query_range(
                queries.history(namespace, name, window=over, scrape_interval=self._scrape_interval),
                start_time=datetime.fromtimestamp(grid.start, UTC),
                end_time=datetime.fromtimestamp(grid.end, UTC),
                step=str(int(grid.step)),
                params=self._limits,
            )
        )
        return History(**by_measure(result, grid, [field.name for field in fields(History)]))

    async def instant(self, query: str) -> float | NoData:
        """The one value of ``query`` now."""
        answer = await self._ask(lambda: self._server.custom_query(query, params=self._limits))
        value = single(answer)
        return NoData(f"{self.url} has no value for {query:.120}") if value is None else value

    async def freshness(self, *, namespace: str, name: str) -> Seconds | NoData:
        """Seconds since a front router was last scraped."""
        return await self.instant(queries.freshness(namespace, name))

    async def attainment(
        self, *, namespace: str, name: str, window: Seconds, slo: str = "both"
    ) -> float | NoData:
        """Share of the requests of the last ``window`` seconds that met their SLO."""
        return await self.instant(queries.attainment(namespace, name, window=window, slo=slo))

    def close(self) -> None:
        """Give the connections back. A call in flight fails as unavailable."""
        self._session.close()

    async def _ask(self, call: Callable[[], _T]) -> _T:
        """One call in a thread; whatever goes wrong becomes ``MetricsUnavailable``."""
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.to_thread(call)
        except (TimeoutError, requests.Timeout) as error:
            reason = f"no answer within {self._timeout:g}s"
            raise self._unavailable(reason, retry_helps=True) from error
        except PrometheusApiClientException as error:
            raise self._refused(str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            # What the library stumbles over when the body is not the JSON it expects.
            reason = f"malformed answer: {type(error).__name__}: {error!s:.200}"
            raise self._unavailable(reason, retry_helps=False) from error
        except requests.RequestException as error:
            raise self._unavailable(f"{_root(error)!s:.200}", retry_helps=True) from error

    def _refused(self, text: str) -> MetricsUnavailable:
        status = _STATUS.match(text)
        code = int(status[1]) if status else 0
        return self._unavailable(f"{text:.200}", retry_helps=not 400 <= code < 500 or code in _RETRYABLE)

    def _unavailable(self, reason: str, *, retry_helps: bool) -> MetricsUnavailable:
        return MetricsUnavailable(f"{self.url}: {reason}", retry_helps=retry_helps)


def _root(error: BaseException) -> BaseException:
    """The first of a chain: "connection refused", which its wrappers bury under the query's text."""
    while error.__context__ is not None:
        error = error.__context__
    return error
