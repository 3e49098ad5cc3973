"""One client per metrics server and visitor, however many ServingDeployments name it."""

import time
from collections.abc import Callable
from typing import Final

from pdscale.model.units import Seconds
from pdscale.prom.access import Access
from pdscale.prom.client import PrometheusHistory

# A token that was renewed leaves a client behind. Far above any interval between two ticks of an object.
IDLE: Final[Seconds] = 2 * 3600.0


class MetricsServers:
    """Hands out clients; closes those that nobody asked for in a while, and all of them at the end."""

    def __init__(
        self, *, scrape_interval: Seconds = 15.0, clock: Callable[[], Seconds] = time.monotonic
    ) -> None:
        self._scrape_interval = scrape_interval
        self._clock = clock
        self._clients: dict[Access, PrometheusHistory] = {}
        self._asked: dict[Access, Seconds] = {}

    def at(self, access: Access | str) -> PrometheusHistory:
        """The client of ``access``; ``ValueError`` where its certificates are none."""
        access = Access(access) if isinstance(access, str) else access
        now = self._clock()
        self._forget(before=now - IDLE)
        if access not in self._clients:
            self._clients[access] = PrometheusHistory(access, scrape_interval=self._scrape_interval)
        self._asked[access] = now
        return self._clients[access]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._asked.clear()

    def _forget(self, *, before: Seconds) -> None:
        for access in [a for a, asked in self._asked.items() if asked < before]:
            del self._asked[access]
            client = self._clients.pop(access, None)
            if client is not None:
                client.close()
