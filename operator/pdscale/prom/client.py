"""Asks a Prometheus-like server, and answers in the vocabulary of the core.

The library beneath is synchronous, so each call runs in a thread of this server's own: one that hangs must
not keep others, nor decisions, waiting for a thread. By itself it tries again for seconds when refused, and
has no limit in size or of the whole time; here each page has all three (``transport``), since the control
loop asks again at its next tick anyhow. Neither proxies nor credentials are taken from the environment: they
would be configuration that nobody has judged, and a ``.netrc`` entry would replace the ``Authorization``
header.

Histories are asked for in pages and remembered (``memory``). Our clock and the server's need not agree:
samples are stamped by the server's, so it is asked by its own, and the answer is shifted back by whole steps.
Else a server that lags would have no fresh sample for ever, and one ahead would be read late.
"""

import asyncio
import re
from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import requests
from prometheus_api_client.exceptions import PrometheusApiClientException
from prometheus_api_client.prometheus_connect import PrometheusConnect

from pdscale.model.units import Seconds
from pdscale.model.workload import NoData
from pdscale.prom import queries
from pdscale.prom.access import Access
from pdscale.prom.answers import Column, by_label, by_measure, only, single
from pdscale.prom.errors import MetricsUnavailable
from pdscale.prom.grid import Grid
from pdscale.prom.hygiene import sound
from pdscale.prom.memory import Memories, Memory
from pdscale.prom.transport import MOST_BYTES, BoundedTransport, Session
from pdscale.scaling.history import History
from pdscale_forecaster.series import Series

_T = TypeVar("_T")

MEASURES: Final = tuple(field.name for field in fields(History))

_STATUS: Final = re.compile(r"HTTP Status Code (\d{3})")

# Of the client errors, those that say "not now".
_RETRYABLE: Final = {408, 425, 429}

_THREADS: Final = 4

# Instants whose columns are so quickly copied that a thread is not worth its hand-over.
_AT_ONCE: Final = 1_000

# Two scrapes may be under way, or a minute's lag of a pipeline.
_LEAST_SETTLING: Final[Seconds] = 60.0


class PrometheusHistory:
    """One metrics server. Used from one event loop, closed by who made it."""

    def __init__(
        self, access: Access | str, *, scrape_interval: Seconds = 15.0, most_bytes: int = MOST_BYTES
    ) -> None:
        if not scrape_interval > 0:
            raise ValueError(f"scrapeInterval must be above 0s, got {scrape_interval}s")
        access = Access(access) if isinstance(access, str) else access
        self.url = access.url
        self._timeout = access.timeout
        self._scrape_interval = scrape_interval
        # The server stops working on what nobody waits for any more.
        self._limits = {"timeout": queries.duration(access.timeout)}
        self._transport = BoundedTransport(access.tls, deadline=access.timeout, most_bytes=most_bytes)
        self._session = Session()
        self._server = PrometheusConnect(
            self.url,
            headers=dict(access.headers),
            session=self._session,
            timeout=access.timeout,  # type: ignore[arg-type]  # annotated int, handed on to requests as it is
        )
        self._session.mount(self.url, self._transport)  # in place of the library's own
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="metrics")
        self._memories = Memories()

    @property
    def skew(self) -> Seconds | None:
        """The server's clock less ours, 0 within what its answers can tell; ``None`` while unknown."""
        return self._transport.skew

    async def history(
        self,
        *,
        namespace: str,
        name: str,
        window: Seconds,
        step: Seconds,
        now: Seconds,
        overrides: Mapping[str, str] = queries.NO_OVERRIDES,
    ) -> History:
        """All measures over the last ``window`` seconds, NaN where the server knows nothing.

        Only what is not yet known is asked for; ``overrides`` are PromQL by measure (``queries.history``).
        """
        over = queries.rate_window(scrape_interval=self._scrape_interval, step=step)
        query = queries.history(
            namespace, name, window=over, scrape_interval=self._scrape_interval, overrides=overrides
        )
        known = partial(self._known, query, window=window, step=step, now=now)
        memory, grid, shift = await known()
        if self._shift(step) != shift:  # the first answer of a server says what its clock says
            memory, grid, shift = await known()
        if grid.samples <= _AT_ONCE:
            return _history(memory, grid, shift=shift)
        return await self._in_thread(lambda: _history(memory, grid, shift=shift))

    async def series(self, query: str, grid: Grid, *, tell: Callable[[int], None] = lambda _: None) -> Series:
        """The one series of any ``query`` on ``grid``; ``tell`` hears how many instants are there so far."""
        found: Column = array("d")
        for page in grid.pages():
            found.extend(await self._range(query, page, only))
            tell(len(found))
        return Series(grid.start, grid.step, tuple(found))

    async def instant(self, query: str) -> float | NoData:
        """The one value of ``query`` now."""
        value = await self._instant(query, single)
        return NoData(f"{self.url} has no value for {query:.120}") if value is None else value

    async def instants(self, query: str, *, label: str) -> dict[str, float]:
        """The values of ``query`` now, by one label."""
        return await self._instant(query, partial(by_label, label=label))

    def close(self) -> None:
        """Give the connections back. A call in flight fails as unavailable."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()

    @property
    def _settling(self) -> Seconds:
        return max(_LEAST_SETTLING, 2 * self._scrape_interval)

    def _shift(self, step: Seconds) -> Seconds:
        """Whole steps between the clocks; less than one is within what a newest sample may be late anyhow."""
        skew = self.skew or 0.0
        return 0.0 if abs(skew) < step else round(skew / step) * step

    async def _known(
        self, query: str, *, window: Seconds, step: Seconds, now: Seconds
    ) -> tuple[Memory, Grid, Seconds]:
        """What is remembered, with all of a grid in it; the grid, and by how much it was shifted."""
        shift = self._shift(step)
        grid = Grid.ending(now + shift, window=window, step=step)
        memory = self._memories.of((query, grid.step), MEASURES, settling=self._settling, now=now)
        await self._read(query, memory.wanting(grid), memory)
        return memory, grid, shift

    async def _read(self, query: str, wanted: Grid, memory: Memory) -> None:
        """Page by page: what has been answered stays, so that the next tick goes on behind it."""
        for page in wanted.pages():
            memory.take(page, await self._range(query, page, _all_measures))

    async def _range(self, query: str, page: Grid, read: Callable[[Any, Grid], _T]) -> _T:
        """A page as ``read`` understands it, in the thread as well: parsing takes longer than asking."""

        def call() -> _T:
            result = self._server.custom_query_range(
                query,
                start_time=datetime.fromtimestamp(page.start, UTC),
                end_time=datetime.fromtimestamp(page.end, UTC),
                step=str(int(page.step)),
                params=self._limits,
            )
            return read(result, page)

        return await self._ask(call)

    async def _instant(self, query: str, read: Callable[[Any], _T]) -> _T:
        return await self._ask(lambda: read(self._server.custom_query(query, params=self._limits)))

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _ask(self, call: Callable[[], _T]) -> _T:
        """One call in a thread; whatever goes wrong becomes ``MetricsUnavailable``."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._in_thread(call)
        except (TimeoutError, requests.Timeout) as error:
            reason = f"no answer within {self._timeout:g}s"
            raise self._unavailable(reason, retry_helps=True) from error
        except MetricsUnavailable as error:  # of what was read
            raise self._unavailable(error.reason, retry_helps=error.retry_helps) from error
        except PrometheusApiClientException as error:
            raise self._refused(str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            # What the library stumbles over when the body is not the JSON it expects.
            reason = f"malformed answer: {type(error).__name__}: {error!s:.200}"
            raise self._unavailable(reason, retry_helps=False) from error
        except requests.RequestException as error:
            raise self._unavailable(f"{_root(error)!s:.200}", retry_helps=True) from error
        except RuntimeError as error:  # from the threads, after close
            raise self._unavailable(f"{error!s:.200}", retry_helps=False) from error

    def _refused(self, text: str) -> MetricsUnavailable:
        status = _STATUS.match(text)
        code = int(status[1]) if status else 0
        return self._unavailable(f"{text:.300}", retry_helps=not 400 <= code < 500 or code in _RETRYABLE)

    def _unavailable(self, reason: str, *, retry_helps: bool) -> MetricsUnavailable:
        return MetricsUnavailable(f"{self.url}: {reason}", retry_helps=retry_helps)


def _all_measures(result: Any, page: Grid) -> dict[str, Column]:
    return sound(by_measure(result, page, MEASURES))


def _history(memory: Memory, grid: Grid, *, shift: Seconds) -> History:
    start = grid.start - shift
    return History(
        **{name: Series(start, grid.step, tuple(column)) for name, column in memory.on(grid).items()}
    )


def _root(error: BaseException) -> BaseException:
    """The first of a chain: "connection refused", which its wrappers bury under the query's text."""
    while error.__context__ is not None:
        error = error.__context__
    return error
